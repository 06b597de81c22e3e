-- SPDX-License-Identifier: GPL-2.0-or-later
-- How Wireshark calls us: for segments with payload (by port, Decode As, conversation or heuristic), and - only once a
-- capture has a hole - after every frame, because TCP keeps late segments to itself.

do
  local protocol = fields.protocol

  local function tvb_view(tvb, at, length)
    return {
      length = length,
      read = function(_, from, count)
        if count <= 0 then
          return ""
        end
        return tvb:raw(at + from, count)
      end,
    }
  end

  -- Whether anybody will see what is shown: without columns and filter, as when a capture is loaded, nobody does.
  local function is_shown(pinfo, tree)
    return tostring(pinfo.cols.protocol) ~= "(protocol)" or show.wanted(tree)
  end

  local late = Proto("xenmig_late", "Xen Live Migration, late segments")
  local late_frames = {} -- frame -> true: shown by `late`
  local handed = false -- TCP gave us the payload of the frame that is being looked at
  local watching = false -- `late` is called behind every frame
  local every_segment = false -- the preference of that name

  local function watch_for_late_segments()
    if not watching then
      watching = true
      register_postdissector(late)
    end
  end

  local function place_of(side, segment, tvb, at, length, visited)
    local position = streams.position(side, segment)
    return {
      tvb = tvb,
      at = at,
      position = position,
      stop = position + length,
      frame = segment.frame,
      visited = visited,
    }
  end

  local length_of = nil -- the method tvb.len: looking it up every time costs as much as calling it

  -- One segment whose stream is followed. Shows nothing as long as that is no migration.
  local function segment_of_stream(tvb, pinfo, tree, segment, side)
    local stream = side.stream
    local visited = pinfo.visited
    handed = true
    if visited then
      streams.conclude(stream, segment)
    else
      streams.feed(side, segment, tvb_view(tvb, 0, tvb:len()), tvb:reported_len(), pinfo)
      if streams.open > 0 then
        watch_for_late_segments()
      end
    end
    if not streams.role(side) then
      return
    end
    if visited or is_shown(pinfo, tree) then
      show.frame(side, place_of(side, segment, tvb, 0, tvb:len(), visited), pinfo, tree)
    else
      streams.take_fresh(side)
      length_of = tvb.len
      streams.go_fast(side, pinfo.src_port)
    end
  end

  local fast_sides, seq_field = streams.fast, streams.seq_field

  -- Every segment with payload comes through here, and nearly all of them are page contents that nobody looks at: those
  -- are recognised by their sequence number and passed. (Each call into Wireshark counts: three are made. info() is the
  -- value of a field.)
  local function dissect(tvb, pinfo, tree)
    local fast = streams.only or fast_sides[pinfo.src_port]
    if fast then
      local info = seq_field()
      local seq, length = info and info(), length_of(tvb)
      if seq == fast.seq and length < fast.left then
        fast.seq = (seq + length) % 4294967296
        fast.left = fast.left - length
        handed = true
        return length
      end
    end
    local segment = streams.segment_of(pinfo)
    if not segment then
      return 0
    end
    local side = streams.find(segment, pinfo, true)
    if side.stream.flow.uninteresting then
      return 0
    end
    segment_of_stream(tvb, pinfo, tree, segment, side)
    return tvb:len()
  end

  protocol.dissector = dissect
  show.dissector = Dissector.get("xenmig")

  ---------------------------------------------------------------------------------------------------------------------
  -- The payload of a segment, found without the help of Wireshark's TCP

  local MOST_HEADERS = 8

  -- Bytes of TCP header and payload according to the IP header in front of it; nil when there is none to be found.
  local function tcp_length(source, at)
    for words = 5, 15 do
      local start = at - 4 * words
      if start >= 0 then
        local header = source:raw(start, 4)
        if header:byte(1) == 64 + words and source:raw(start + 9, 1) == "\6" then
          local total = codec.uint(header, 3, 2, "big")
          return total > 0 and total - 4 * words or source:reported_len() - at
        end
      end
    end
    for extra = 0, MOST_HEADERS do
      local start = at - 40 - 8 * extra
      if start >= 0 and math.floor(source:raw(start, 1):byte() / 16) == 6 then
        local length = codec.uint(source:raw(start + 4, 2), 1, 2, "big")
        if length > 0 and start + 40 + length >= at then
          return start + 40 + length - at
        end
      end
    end
    return nil
  end

  local function payload_of(segment)
    local header_length = math.floor(segment.header:byte(13) / 16) * 4
    local length = tcp_length(segment.source, segment.at)
    if not length or length <= header_length then
      return nil
    end
    local at = segment.at + header_length
    local captured = math.max(0, math.min(length - header_length, segment.source:len() - at))
    return at, captured, length - header_length
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- Whose stream is it?

  local function is_migration(stream)
    return stream.flow.announced or stream.end_flow ~= nil and stream.end_flow.announced
  end

  -- A connection that does not tell at once what it is (captured from its middle, or its first bytes are lost) is
  -- followed after the other dissectors had its segments: any of them may take page contents for its own and keep
  -- segments back. True when it is known to be a migration.
  local function found_by_search(stream, segment, pinfo)
    if stream.flow.uninteresting or (stream.flow.start == "mid-stream" and not protocol.prefs.middle) then
      return false
    elseif pinfo.visited then
      streams.conclude(stream, segment)
    elseif not stream.flow.announced then
      streams.search(stream)
      watch_for_late_segments()
    end
    return is_migration(stream)
  end

  local function whole_segment(tvb, segment)
    if segment.bare then
      return true
    end
    local _, _, length = payload_of(segment)
    return length == tvb:reported_len()
  end

  -- Called for segments that nobody else claims, until the stream is known to be (no) migration.
  local function heuristic(tvb, pinfo, tree)
    local segment = streams.segment_of(pinfo)
    if not segment then
      return false
    end
    local side, stream = streams.find(segment, pinfo, true)
    local flow = stream.flow
    if flow.uninteresting then
      return false
    end
    local first = not pinfo.visited and not stream.searched and flow.start == "syn" and whole_segment(tvb, segment)
    if first then
      segment_of_stream(tvb, pinfo, tree, segment, side)
    end
    if not (first and flow.announced) and not found_by_search(stream, segment, pinfo) then
      return false
    end
    if not first then
      segment_of_stream(tvb, pinfo, tree, segment, side)
    end
    pinfo.conversation = protocol
    return true
  end
  protocol:register_heuristic("tcp", heuristic)

  ---------------------------------------------------------------------------------------------------------------------
  -- Segments that came late: TCP hands them to nobody

  -- An acknowledgement may settle that a hole is a loss: what waited behind it is shown with this frame then.
  local function acknowledge(side, segment, pinfo, tree)
    streams.acknowledge(side, segment, pinfo)
    local other = streams.other(side)
    if #other.fresh_units == 0 and #other.fresh_notes == 0 then
      return
    elseif streams.role(other) and is_shown(pinfo, tree) then
      local place = { tvb = segment.source, at = segment.at, position = other.half.next, stop = other.half.next }
      show.found(other, place, pinfo, tree)
    else
      streams.take_fresh(other)
    end
  end

  local function late_segment(pinfo, tree, was_handed)
    local segment = streams.segment_of(pinfo)
    local side, stream
    if segment and not segment.bare then
      side, stream = streams.find(segment, pinfo, every_segment)
    end
    if not side or stream.flow.uninteresting then
      return
    end
    local visited = pinfo.visited
    local at, captured, length = payload_of(segment)
    if every_segment and not stream.flow.announced then
      streams.search(stream)
    end
    local known = side.half.started or stream.searched
    if was_handed or not at or not known then -- TCP gave it to us, or there is nothing to give
      if not visited then
        acknowledge(side, segment, pinfo, tree)
      end
      return
    end
    if not visited then
      late_frames[segment.frame] = true
      streams.feed(side, segment, tvb_view(segment.source, at, captured), length, pinfo)
      if stream.flow.announced then
        pinfo.conversation = protocol
      end
    end
    if not streams.role(side) then
      return
    end
    local place = place_of(side, segment, segment.source, at, captured, visited)
    place.late = true
    show.frame(side, place, pinfo, tree)
  end

  function late.dissector(_, pinfo, tree)
    local was_handed = handed
    handed = false
    if streams.open == 0 and streams.searched == 0 and (was_handed or not every_segment) and not pinfo.visited then
      return
    elseif not pinfo.visited or (late_frames[pinfo.number] and not was_handed) then
      late_segment(pinfo, tree, was_handed)
    end
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- A new capture, preferences, Decode As

  function protocol.init()
    streams.reset()
    late_frames = {}
    handed = false
  end

  local ports = DissectorTable.get("tcp.port")
  ports:add_for_decode_as(protocol)

  local used_ports = ""
  function protocol.prefs_changed()
    if protocol.prefs.ports ~= used_ports then
      if used_ports ~= "" then
        ports:remove(used_ports, protocol)
      end
      used_ports = protocol.prefs.ports
      if used_ports ~= "" then
        ports:add(used_ports, protocol)
      end
    end
    every_segment = protocol.prefs.every_segment
    if every_segment then
      watch_for_late_segments()
    end
    statistics.prepare(protocol.prefs.statistics)
  end
end
