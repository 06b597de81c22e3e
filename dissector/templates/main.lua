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

  -- Units that got this frame on its first visit: all of them are shown in it.
  local function new_units(side, frame)
    local units = {}
    local all = side.follower.units
    for index = #all, 1, -1 do
      if all[index].frame ~= frame then
        if all[index].decided and all[index].decided < frame then
          break
        end
      else
        table.insert(units, 1, all[index])
      end
    end
    if side.current and side.current.frame == frame then
      units[#units + 1] = side.current
    end
    return units
  end

  local function columns_wanted(pinfo)
    return tostring(pinfo.cols.protocol) ~= "(protocol)"
  end

  local late = Proto("xenmig_late", "Xen Live Migration, late segments")
  local late_frames = {} -- frame -> true: shown by `late`
  local taken = 0 -- the last frame whose payload TCP gave us
  local watching = false

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
      new_units = not visited and new_units(side, segment.frame) or nil,
    }
  end

  -- One segment whose stream is followed. Returns the side, or nil when it is no migration (yet).
  local function segment_of_stream(tvb, pinfo, tree, segment, side)
    local stream = side.stream
    local visited = pinfo.visited
    taken = segment.frame
    if visited then
      streams.conclude(stream)
    else
      streams.feed(side, segment, tvb_view(tvb, 0, tvb:len()), tvb:reported_len(), pinfo)
      if streams.open > 0 then
        watch_for_late_segments()
      end
    end
    if not streams.role(side) then
      return nil
    end
    local shown = tree and (tree.visible or tree:referenced(show.dissector))
    if shown or visited or columns_wanted(pinfo) then
      show.frame(side, place_of(side, segment, tvb, 0, tvb:len(), visited), pinfo, tree)
    else
      streams.go_fast(side, pinfo.src_port)
    end
    return side
  end

  local fast_sides, seq_field = streams.fast, streams.seq_field

  -- Every segment with payload comes through here, and nearly all of them are page contents that nobody looks at: those
  -- are recognised by their sequence number and passed. (Each call into Wireshark counts: four are made.)
  local function dissect(tvb, pinfo, tree)
    local fast = fast_sides[pinfo.src_port]
    if fast then
      local info = seq_field()
      local seq, length = info and info.value, tvb:len()
      if seq == fast.seq and length < fast.left then
        fast.seq = (seq + length) % 4294967296
        fast.left = fast.left - length
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
  local function found_by_search(stream, pinfo)
    if stream.flow.uninteresting or (stream.flow.start == "mid-stream" and not protocol.prefs.middle) then
      return false
    elseif pinfo.visited then
      streams.conclude(stream)
    elseif not stream.flow.announced then
      streams.search(stream)
      watch_for_late_segments()
    end
    return is_migration(stream)
  end

  local function whole_segment(tvb, segment)
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
    if not (first and flow.announced) and not found_by_search(stream, pinfo) then
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

  local function late_segment(pinfo, tree)
    local segment = streams.segment_of(pinfo)
    local side = segment and streams.find(segment, pinfo, false)
    if not side or not (side.half.started or side.stream.searched) or side.stream.flow.uninteresting then
      return
    end
    local visited = pinfo.visited
    local at, captured, length = payload_of(segment)
    if taken == segment.frame or not at then -- TCP gave it to us, or there is nothing to give
      if not visited then
        streams.acknowledge(side, segment, pinfo)
      end
      return
    end
    if not visited then
      late_frames[segment.frame] = true
      streams.feed(side, segment, tvb_view(segment.source, at, captured), length, pinfo)
      if side.stream.flow.announced then
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
    if pinfo.visited then
      if late_frames[pinfo.number] then
        late_segment(pinfo, tree)
      end
    elseif streams.open > 0 or streams.searched > 0 then
      late_segment(pinfo, tree)
    end
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- A new capture, preferences, Decode As

  function protocol.init()
    streams.reset()
    late_frames = {}
    taken = 0
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
    statistics.prepare(protocol.prefs.statistics)
  end
end
