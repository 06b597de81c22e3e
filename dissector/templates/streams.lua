-- SPDX-License-Identifier: GPL-2.0-or-later
-- Segments of Wireshark's TCP dissector -> the half flows of the right connection, and what was found in which frame.
--
-- The first visit of a frame feeds the engine; everything shown later is looked up. Positions are stream offsets of the
-- direction ("side") a frame belongs to. No number is kept per frame: where a frame lies is computed from its sequence
-- number and the few remembered places before it.

local streams = {
  by_number = {}, -- tcp.stream -> stream
  list = {}, -- streams that are migrations, in the order they were found
  followed = 0, -- connections that are or may be migrations
  ports = {}, -- source port -> how many of their sides have it
  fast = {}, -- source port -> the side whose page contents are being passed without looking at them
  only = nil, -- that side, if its segments can not be mistaken for any other's: saves asking for the port
  cut = false, -- some segment is cut by the snap length: nothing can be passed without looking
  open = 0, -- sides with a hole that may still be filled
  searched = 0, -- connections captured from their middle in which no record was found yet
}

do
  local SEQUENCES = 4294967296
  -- Sequence numbers tell a stream offset only among offsets less than half their range apart.
  local PLACE_DISTANCE = 1073741824
  -- Opaque state (of a device model, say) longer than this is not kept once it was framed.
  local KEPT_OF_BLOB = 65536

  local seq_field = Field.new("tcp.seq")
  local stream_field = Field.new("tcp.stream")
  local completeness_field = Field.new("tcp.completeness")
  local budget = { used = 0 }

  -- The innermost value of a field of this frame, or nil: a tunnel has several.
  local function last_of(field)
    local all = { field() }
    return all[#all]
  end

  -- Whether Wireshark counts sequence numbers from the SYN, as it does by default; nil where it does not tell.
  local function counts_relatively()
    if not get_preference then
      return nil
    end
    return get_preference("tcp.relative_sequence_numbers") and get_preference("tcp.analyze_sequence_numbers")
  end

  function streams.reset()
    streams.by_number, streams.list, streams.followed, streams.only = {}, {}, 0, nil
    streams.ports, streams.cut = {}, false
    streams.relative = counts_relatively()
    for port in pairs(streams.fast) do
      streams.fast[port] = nil
    end
    streams.open, streams.searched, streams.bare = 0, 0, nil
    budget.used = 0
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- What Wireshark's fields tell about a segment

  -- The 20 fixed bytes of the TCP header.
  local function tcp_header(info)
    local source = info.source
    local at = info.offset - 4
    if not source or at < 0 or source:len() < at + 20 then
      return nil
    end
    return source:raw(at, 20), source, at
  end

  local function endpoint(address, port)
    return tostring(address) .. " " .. port
  end

  -- Both ends of a connection, whatever the direction. They stand in for the number of the stream where Wireshark makes
  -- no fields while it loads a capture (as sharkd); such a "bare" segment is taken for the next one of its direction.
  local function connection_of(pinfo)
    local one, other = endpoint(pinfo.src, pinfo.src_port), endpoint(pinfo.dst, pinfo.dst_port)
    return one < other and one .. " " .. other or other .. " " .. one
  end

  -- A segment: stream number, seq (as Wireshark counts it), relative (seq counts from the SYN), raw and raw_ack (as
  -- the header says), header, source and at (where the TCP header is).
  function streams.segment_of(pinfo)
    local info, number = last_of(seq_field), last_of(stream_field)
    if not info or not number then
      return { number = connection_of(pinfo), bare = true, completeness = 3, frame = pinfo.number }
    end
    local header, source, at = tcp_header(info)
    if not header then
      return nil
    end
    local raw = codec.uint(header, 5, 4, "big")
    local relative = streams.relative
    if relative == nil then
      relative = info.value ~= raw
    end
    local has_ack = math.floor(header:byte(14) / 16) % 2 == 1
    local completeness = last_of(completeness_field)
    return {
      number = number.value,
      seq = info.value,
      raw = raw,
      raw_ack = has_ack and codec.uint(header, 9, 4, "big") or nil,
      relative = relative,
      completeness = completeness and completeness.value or 0,
      header = header,
      source = source,
      at = at,
      frame = pinfo.number,
    }
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- Streams and sides

  local function new_side(stream, index)
    local one = stream.flow.followers[index]
    return {
      stream = stream,
      index = index,
      follower = one,
      half = halfflow.new(one, budget),
      base = nil, -- what to add to `seq` of the half flow to get the raw sequence number
      units_seen = 0, -- of follower.units, how many were given a frame to be shown in
      notes_seen = 0,
      current = nil, -- the unit whose contents are passing by
      places = {}, -- {frame, offset}: no segment from `frame` on lies far below `offset`
      home = {}, -- frame -> units that are shown in it
      notes = {}, -- frame -> notes that are shown in it
      fresh_units = {}, -- found and not shown yet, while frames are visited for the first time
      fresh_notes = {},
      seq = 0, -- the fast path's own count: next sequence number, and
      left = 0, -- how many bytes it may pass
      ack = -1, -- last raw acknowledgement number this side sent
      open = false,
    }
  end

  local function count_followed(stream, more)
    streams.followed = streams.followed + more
    for _, port in ipairs(stream.ports) do
      streams.ports[port] = (streams.ports[port] or 0) + more
      streams.fast[port] = nil
    end
  end

  local function new_stream(segment, pinfo)
    -- Bits 0 and 1: a SYN and a SYN-ACK were seen. The second one tells the first number of either side.
    local seen = segment.completeness % 4
    local stream = {
      number = segment.number,
      flow = follower.pair(seen > 0 and "syn" or "mid-stream"),
      both_syns = seen >= 2,
      completeness = segment.completeness, -- as Wireshark's tcp.completeness, at the latest segment
      first = endpoint(pinfo.src, pinfo.src_port),
      port = pinfo.src_port,
      version = 0, -- counts what was fed, to know when a preview is out of date
    }
    stream.flow.checked = check.session()
    stream.second = endpoint(pinfo.dst, pinfo.dst_port)
    stream.same_ports = pinfo.src_port == pinfo.dst_port
    stream.sides = { new_side(stream, 1), new_side(stream, 2) }
    streams.by_number[segment.number] = stream
    stream.ports = { pinfo.src_port, pinfo.dst_port }
    count_followed(stream, 1)
    streams.only = nil
    return stream
  end

  local function side_of(stream, pinfo)
    local is_first = pinfo.src_port == stream.port
    if stream.same_ports then
      is_first = endpoint(pinfo.src, pinfo.src_port) == stream.first
    end
    return stream.sides[is_first and 1 or 2]
  end

  -- The stream and side of a segment; nil for a stream that is not followed (unless `create`).
  function streams.find(segment, pinfo, create)
    local stream = streams.by_number[segment.number]
    if not stream and streams.bare and not segment.bare then
      stream = streams.by_number[connection_of(pinfo)]
    end
    if not stream and create then
      streams.bare = streams.bare or segment.bare
      stream = new_stream(segment, pinfo)
    end
    if not stream then
      return nil
    end
    return side_of(stream, pinfo), stream
  end

  function streams.other(side)
    return side.stream.sides[3 - side.index]
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- The first visit

  -- Take back what the fast path counted; returns how many bytes that were.
  local function settle(side)
    local half = side.half
    local passed = 0
    if half.started and side.left > 0 then
      passed = (side.seq - half.seq) % SEQUENCES
      if passed > 0 then
        half:pass(passed, half.follower.last_frame)
      end
    end
    side.left = 0
    return passed
  end

  local function start(side, segment)
    if segment.bare then
      return side.half:start(1)
    end
    -- With its SYN in the capture, Wireshark counts a direction's first byte as 1.
    local from_syn = segment.relative and (side.stream.both_syns or segment.seq == 1)
    side.half:start(from_syn and 1 or segment.seq)
    side.follower.begun = from_syn
    side.base = (segment.raw - segment.seq) % SEQUENCES
  end

  local function note_place(side, frame, offset)
    local places = side.places
    local before = places[#places]
    if not before or offset - before.offset >= PLACE_DISTANCE then
      places[#places + 1] = { frame = frame, offset = offset }
    end
  end

  local function add_to(lists, frame, item)
    local list = lists[frame]
    if list then
      list[#list + 1] = item
    else
      lists[frame] = { item }
    end
  end

  -- Where a unit is shown when its frame is looked at again: where its head was completed; a unit that was recognised
  -- only in a later frame goes back to where it lies.
  local function home_of(unit, frame, start_at)
    if unit.offset + unit.size > start_at then
      return frame
    end
    return codec.list_plan(unit.record) and unit.first_frame or unit.last_frame or frame
  end

  local function place_unit(side, unit, frame, start_at)
    check.unit(side.follower, unit)
    unit.frame = frame
    unit.home = home_of(unit, frame, start_at)
    add_to(side.home, unit.home, unit)
    side.fresh_units[#side.fresh_units + 1] = unit
  end

  -- Give frames to what was found since the last time; `start_at` is the stream offset of this frame's payload.
  local function collect(side, frame, start_at)
    local one = side.follower
    for index = side.units_seen + 1, #one.units do
      local unit = one.units[index]
      if unit.frame == nil then
        place_unit(side, unit, frame, start_at)
      end
      values.slim(unit, KEPT_OF_BLOB)
    end
    side.units_seen = #one.units
    local current = not one.search and one.framer.unit or nil
    if current and one.framer.skip > 0 then
      current.number = one.count + 1
      if current.frame == nil then
        place_unit(side, current, frame, start_at)
      end
      side.current = current
    else
      side.current = nil
    end
    for index = side.notes_seen + 1, #one.notes do
      local note = one.notes[index]
      add_to(side.notes, note.frame > 0 and note.frame or frame, note)
      side.fresh_notes[#side.fresh_notes + 1] = note
    end
    side.notes_seen = #one.notes
  end

  -- What was found since the last call: units, notes.
  function streams.take_fresh(side)
    local units, notes = side.fresh_units, side.fresh_notes
    if #units > 0 or #notes > 0 then
      side.fresh_units, side.fresh_notes = {}, {}
    end
    return units, notes
  end

  local function update_open(side)
    local open = side.half:waiting() or #side.half.holes > 0
    if open ~= side.open then
      side.open = open
      streams.open = streams.open + (open and 1 or -1)
    end
  end

  -- What the other side acknowledged, in this side's count.
  local function peer_ack(side)
    local ack = streams.other(side).ack
    if ack < 0 or not side.base then
      return -1
    end
    return (ack - side.base) % SEQUENCES
  end

  -- Look for records in a connection captured from its middle, until some are found or there has been enough.
  function streams.search(stream)
    if not stream.searched then
      stream.searched = true
      streams.searched = streams.searched + 1
    end
  end

  local function update_search(stream)
    if stream.flow.uninteresting and not stream.given_up then
      stream.given_up = true
      count_followed(stream, -1)
    end
    if stream.searched and (stream.flow.announced or stream.flow.uninteresting) then
      stream.searched = nil
      streams.searched = streams.searched - 1
    end
  end

  -- Number a stream that is known to be a migration, once.
  local function list(stream, flow)
    if flow.announced and not stream.index then
      stream.index = #streams.list
      streams.list[#streams.list + 1] = stream
    end
  end

  -- Both sides may have found something: one can tell the other what it is.
  local function collect_all(stream, frame, side, start_at)
    collect(side, frame, start_at)
    collect(streams.other(side), frame, streams.other(side).half.next)
    list(stream, stream.flow)
    update_search(stream)
  end

  -- Feed a segment: `view` has the captured bytes of its payload, `length` counts those on the wire.
  function streams.feed(side, segment, view, length, pinfo)
    local stream, half = side.stream, side.half
    streams.only = nil
    local passed = settle(side)
    side.ends_unseen = false
    if side.current then -- what a preview said of it (see conclude) may not come true
      side.current.cut_at, side.current.last_frame = nil, nil
    end
    if not half.started then
      start(side, segment)
    end
    stream.completeness = segment.completeness
    if segment.raw_ack then
      side.ack = segment.raw_ack
    end
    segment.seq = segment.seq or half.seq
    local start_at = half:offset_of(segment.seq)
    note_place(side, segment.frame, half.next)
    streams.cut = streams.cut or view.length < length
    if passed > 0 and view.length < length and start_at > half.next then
      -- Frames are cut by the snap length, and so was the last one, which the fast path took for whole.
      half:segment(half.seq, framer.text_view(""), start_at - half.next, peer_ack(side), segment.frame, pinfo.abs_ts)
    end
    half:segment(segment.seq, view, length, peer_ack(side), segment.frame, pinfo.abs_ts)
    stream.version = stream.version + 1
    collect_all(stream, segment.frame, side, start_at)
    update_open(side)
  end

  -- An acknowledgement may say that a hole of the other side is a loss.
  function streams.acknowledge(side, segment, pinfo)
    local other = streams.other(side)
    side.ack = segment.raw_ack or side.ack
    if other.open then
      other.half:check(peer_ack(other), segment.frame, pinfo.abs_ts)
      side.stream.version = side.stream.version + 1
      collect_all(side.stream, segment.frame, other, other.half.next)
      update_open(other)
    end
  end

  -- A side is recognised by its sequence number alone when there is no other connection, and its opposite is far away.
  local function unmistakable(side)
    local far = streams.other(side).half.next - side.half.next
    return streams.followed == 1 and (far < 0 or far > side.left)
  end

  -- Let the fast path pass what nobody needs, if nothing has to be shown.
  function streams.go_fast(side, port)
    local half = side.half
    local skip = half.follower:skip()
    local possible = not side.open and not streams.cut and streams.ports[port] == 1 and not half.follower.ignored
    if skip > 0 and possible then
      side.seq = half.seq
      side.left = math.min(skip, PLACE_DISTANCE)
      streams.fast[port] = side
      streams.only = unmistakable(side) and side or nil
    elseif streams.fast[port] == side then
      streams.fast[port] = nil
    end
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- Later visits

  -- The last item of a list, sorted by `key`, whose `key` is at most `most`; nil when there is none.
  local function last_up_to(items, key, most)
    local low, high = 0, #items
    while low < high do
      local middle = math.floor((low + high + 1) / 2)
      if items[middle][key] <= most then
        low = middle
      else
        high = middle - 1
      end
    end
    return items[low]
  end

  -- Stream offset of a segment of a frame that was visited before.
  function streams.position(side, segment)
    local place = last_up_to(side.places, "frame", segment.frame) or side.places[1]
    if not place then
      return 0
    end
    local offset = place.offset
    local seq = (side.half.seq - side.half.next + offset) % SEQUENCES
    local delta = (segment.seq - seq) % SEQUENCES
    return offset + (delta < SEQUENCES / 2 and delta or delta - SEQUENCES)
  end

  local function covers(unit, offset)
    return unit and unit.offset <= offset and offset < unit.offset + unit.size
  end

  -- The unit a stream offset lies in, or nil.
  function streams.unit_at(side, offset)
    local current = not side.follower.search and side.follower.framer.unit
    if current and covers(current, offset) then
      current.number = side.follower.count + 1
      return current
    end
    local unit = last_up_to(side.follower.units, "offset", offset)
    if covers(unit, offset) then
      return unit
    end
    local preview = side.preview
    unit = preview and last_up_to(preview.units, "offset", offset)
    return covers(unit, offset) and unit or nil
  end

  -- What the end of the capture would add: units cut short, records found only because nothing more comes. Made from a
  -- copy of the state when a frame is looked at again; Wireshark never says that a capture ended.
  function streams.conclude(stream, segment)
    if stream.previewed == stream.version then
      return
    end
    stream.previewed = stream.version
    -- Bits 4 and 5: a FIN or RST was seen, at any time. What is missing then never comes.
    local completeness = segment and segment.completeness or stream.completeness
    local closed = math.floor(completeness / 16) > 0
    for _, side in ipairs(stream.sides) do
      side.ends_unseen = settle(side) > 0 or side.ends_unseen
    end
    local flow = stream.flow:preview()
    for index, side in ipairs(stream.sides) do
      local half = setmetatable({}, getmetatable(side.half))
      for key, value in pairs(side.half) do
        half[key] = value
      end
      half.follower, half.budget = flow.followers[index], { used = budget.used }
      half.holes, half.queue = {}, {}
      for place, hole in ipairs(side.half.holes) do
        half.holes[place] = hole
      end
      for place, item in pairs(side.half.queue) do
        half.queue[place] = item
      end
      half:finish(closed and "lost" or "capture end", peer_ack(side))
    end
    flow:finish()
    stream.end_flow = flow
    for index, side in ipairs(stream.sides) do
      local one = flow.followers[index]
      local preview = { follower = one, units = one.units, notes = {}, home = {} }
      for _, unit in ipairs(one.units) do
        local current = side.current
        if current and unit.offset == current.offset then
          current.cut_at = unit.cut_at
          current.last_frame = not side.ends_unseen and unit.last_frame or nil -- the fast path keeps no frame numbers
          unit.frame = current.frame
        else
          check.unit(one, unit)
          unit.frame = unit.last_frame or unit.first_frame
          add_to(preview.home, unit.frame, unit)
        end
      end
      for _, note in ipairs(one.notes) do
        add_to(preview.notes, note.frame, note)
      end
      side.preview = preview
    end
    list(stream, flow)
  end

  -- The missing bytes of a unit, as far as is known.
  function streams.missing(side, unit)
    local holes = side.half.holes
    if side.preview then
      holes = {}
      for index, range in ipairs(side.preview.follower.lost) do
        holes[index] = { start = range[1], stop = range[2] }
      end
    end
    return follower.missing(side.follower, unit, holes)
  end

  function streams.role(side)
    local role = side.follower.role
    local concluded = side.stream.end_flow
    return role or (concluded and concluded.followers[side.index].role)
  end

  streams.seq_field = seq_field
end
