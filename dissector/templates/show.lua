-- SPDX-License-Identifier: GPL-2.0-or-later
-- What a frame shows: tree items, expert infos and the Info column. All of it is a function of the frame's place in the
-- stream and of what was found there; nothing here changes what was found.

local show = {}

do
  local ARROWS = { forward = "→", reverse = "←" }
  local MOST_RUNS = 64
  local protocol = fields.protocol

  ---------------------------------------------------------------------------------------------------------------------
  -- Where bytes are: in the frame, or put together from several frames

  -- The bytes of this frame's payload: `tvb` holds them from `at` on, their stream offset is `position`.
  local function frame_bytes(place)
    return { tvb = place.tvb, shift = place.at - place.position, low = place.position, high = place.stop }
  end

  local function header_text(unit)
    local function u32(value)
      local bytes = {}
      for index = 1, 4 do
        bytes[index] = string.char(value % 256)
        value = math.floor(value / 256)
      end
      local text_bytes = table.concat(bytes)
      return unit.order == "big" and text_bytes:reverse() or text_bytes
    end
    if unit.type_id == nil then
      return ""
    end
    return u32(unit.type_id) .. u32(unit.body_length) .. ("\0"):rep(unit.header_size - 8)
  end

  -- The kept bytes of a unit that did not come in one piece, as a data tab of their own.
  local function put_together(unit)
    local bytes = header_text(unit) .. unit.body
    if bytes == "" then
      return nil
    end
    local tvb = ByteArray.new(bytes, true):tvb(unit.name .. " put together")
    return { tvb = tvb, shift = -unit.offset, low = unit.offset, high = unit.offset + #bytes }
  end

  local function bytes_of(unit, place)
    local here = frame_bytes(place)
    local kept = unit.header_size + #unit.body
    if here.low <= unit.offset and unit.offset + math.min(kept, unit.size) <= here.high then
      return here
    end
    return put_together(unit) or here
  end

  -- The part of stream bytes `offset` .. `offset + size` that is at hand, as a range of a tvb.
  local function range_of(bytes, offset, size)
    local first = math.max(offset, bytes.low)
    local last = math.min(offset + size, bytes.high)
    if first > bytes.high or last <= first then
      return bytes.tvb:range(math.max(math.min(bytes.low + bytes.shift, bytes.tvb:len()), 0), 0)
    end
    return bytes.tvb:range(first + bytes.shift, last - first)
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- Items

  local function uint64(value)
    return UInt64.new(value % 4294967296, math.floor(value / 4294967296))
  end

  local function exact64(raw, order)
    return UInt64.new(codec.halves(raw, 1, order))
  end

  -- Add a field by its full name. Lua numbers may be floats; Wireshark wants whole ones.
  local function put(node, name, range, value)
    local kind = fields.kind[name]
    if kind == "UINT64" and type(value) == "number" then
      value = uint64(value)
    elseif type(value) == "number" then
      value = math.floor(value)
    elseif kind == "STRING" then
      value = text.utf8(value)
    end
    if value == nil then
      return node:add(fields.by_name[name], range)
    end
    return node:add(fields.by_name[name], range, value)
  end

  local visible -- somebody looks at the details of this frame; if not, only what a filter or column asks for counts

  -- A field that is not in the bytes but follows from them.
  local function derive(node, name, range, value)
    if value ~= nil and (visible or node:referenced(fields.by_name[name])) then
      put(node, name, range, value):set_generated()
    end
  end

  local element_items = {}

  -- Items for elements. `known` is what values.of() says of them (lists of pfns ask; those are never in an array).
  local function add_elements(node, unit, nodes, prefix, bytes, body_at, known)
    local seen = {}
    for _, one in ipairs(nodes) do
      local element = one.element
      local name = prefix .. "." .. element.name
      element_items[element.kind](node, unit, one, name, bytes, body_at, known, prefix, seen)
      if element.kind == "field" then
        seen[element.name] = one.value
      end
    end
  end

  function element_items.skip() end

  function element_items.field(node, unit, one, name, bytes, body_at, _, _, seen)
    local element = one.element
    local range = range_of(bytes, body_at + one.offset, one.size)
    local value = element.size == 8 and exact64(one.raw, element.order or unit.order) or one.value
    local item = put(node, name, range, value)
    if element.names and element.names.kind == "flags" then
      item:append_text(" (" .. values.name_of(element.names, one, unit.order) .. ")")
      for bit = 0, 8 * element.size - 1 do
        local word = element.names.values[bit]
        if word then
          put(item, name .. "." .. word:lower(), range, values.bit(one, bit, unit.order))
        end
      end
    elseif element.names_by then
      local names = values.names_among(element, seen)
      local said = names and values.name_of(names, one, unit.order) or ""
      if said ~= "" then
        item:append_text(" (" .. said .. ")")
      end
    elseif element.const_value and one.value ~= element.const_value then
      item:append_text(" [" .. text.number(element.const_value) .. " expected]")
    end
  end

  -- Whether somebody sees what is inside of bytes, or asks for any of it: it is much.
  local below = {}
  local function inside_wanted(node, name)
    if visible then
      return true
    end
    local found = below[name]
    if not found then
      found = {}
      for full, field in pairs(fields.by_name) do
        if full == name or full:sub(1, #name + 1) == name .. "." then
          found[#found + 1] = field
        end
      end
      below[name] = found
    end
    for _, field in ipairs(found) do
      if node:referenced(field) then
        return true
      end
    end
    return false
  end

  local function add_inside(node, unit, one, name, bytes, body_at)
    if inside_wanted(node, name) then
      local child = put(node, name, range_of(bytes, body_at + one.offset, one.size))
      child:set_text(one.layout.key .. ": " .. one.layout.meaning)
      add_elements(child, unit, values.inside(unit, one), name, bytes, body_at)
    end
  end

  function element_items.numbers(node, unit, one, name, bytes, body_at)
    local element = one.element
    for index, value in ipairs(one.value) do
      local at = element.size * (index - 1)
      if element.size == 8 then
        value = exact64(one.raw:sub(at + 1, at + 8), unit.order)
      end
      local item = put(node, name, range_of(bytes, body_at + one.offset + at, element.size), value)
      item:prepend_text("[" .. index - 1 .. "] ")
    end
  end

  function element_items.bytes(node, unit, one, name, bytes, body_at, known, prefix)
    local size = one.size
    if one.element.text then
      local range = range_of(bytes, body_at + one.offset, size)
      put(node, name, range, (one.value:gsub("\0+$", "")))
      for _, member in ipairs(one.element.members or {}) do
        derive(node, prefix .. "." .. member.name, range, known[member.name])
      end
      if one.element.members then
        derive(node, name .. "_error", range, known[one.element.name .. "_error"])
      end
      return
    end
    if unit.full_length and one.element.length == nil then
      size = size + unit.full_length - #unit.body
    end
    if size > 0 then
      local range = range_of(bytes, body_at + one.offset, size)
      if range:len() > 0 then
        put(node, name, range)
      end
      derive(node, name .. "_length", range, size)
      if one.layout then
        add_inside(node, unit, one, prefix .. "." .. one.layout.key, bytes, body_at)
      end
    end
  end

  local function array_label(item)
    local said = {}
    for _, one in ipairs(item) do
      local element = one.element
      if element.kind == "field" and not element.reserved then
        local word = element.names and element.names.kind == "enum" and element.names.values[one.value]
        local number = element.hexadecimal and text.hex(one.value) or text.number(one.value)
        said[#said + 1] = word or (element.name .. " " .. number)
      elseif element.text then
        said[#said + 1] = text.utf8(one.value)
      end
    end
    return table.concat(said, ", ")
  end

  function element_items.array(node, unit, one, name, bytes, body_at, known)
    derive(node, name .. "_count", range_of(bytes, body_at + one.offset, one.size), #one.value)
    if one.element.last then
      local left = known[one.element.name .. "_rest"]
      derive(node, name .. "_rest", range_of(bytes, body_at + one.offset + one.size, left or 0), left)
    end
    for index, item in ipairs(one.value) do
      local first, last = item[1], item[#item]
      local size = last.offset + last.size - first.offset
      local child = put(node, name, range_of(bytes, body_at + first.offset, size))
      child:set_text(one.element.name .. " " .. index .. ": " .. array_label(item))
      add_elements(child, unit, item, name, bytes, body_at)
    end
  end

  function element_items.pairs(node, _, one, name, bytes, body_at, known)
    local place = body_at + one.offset
    for _, pair in ipairs(one.value) do
      local size = #pair[1] + #pair[2] + 2
      local child = put(node, name, range_of(bytes, place, size), pair[1] .. "=" .. pair[2])
      put(child, name .. ".key", range_of(bytes, place, #pair[1]), pair[1])
      put(child, name .. ".value", range_of(bytes, place + #pair[1] + 1, #pair[2]), pair[2])
      place = place + size
    end
    local left = known[one.element.name .. "_rest"]
    derive(node, name .. "_rest", range_of(bytes, place, left or 0), left)
  end

  local function type_word(nibble)
    return CONST.PAGE_TYPE[nibble] or text.hex(nibble)
  end

  -- A list: what JSON tells of it, its runs, and its entries one by one up to the preference.
  function element_items.pfns(node, unit, one, name, bytes, body_at, known, prefix)
    local element, raw = one.element, one.value
    local range = range_of(bytes, body_at + one.offset, one.size)
    if not element.count then
      derive(node, prefix .. ".count", range, known.count)
    end
    if #raw == 0 then
      return
    end
    local pfns, types = codec.entries(raw, unit.order)
    if not element.typed then -- all 64 bits are the number
      for index = 1, #pfns do
        pfns[index] = codec.uint(raw, 8 * index - 7, 8, unit.order)
      end
    end
    derive(node, prefix .. ".first_pfn", range, known.first_pfn)
    derive(node, prefix .. ".last_pfn", range, known.last_pfn)
    derive(node, prefix .. ".data_pages", range, known.data_pages)
    local counts = known.types
    if counts then
      local types_item = put(node, prefix .. ".types", range, values.types_text(counts))
      types_item:set_generated()
      for nibble = 0, 15 do
        local word = CONST.PAGE_TYPE[nibble]
        if word and counts[word] then
          derive(types_item, prefix .. ".types." .. word:lower(), range, counts[word])
        end
      end
    end
    local runs = put(node, prefix .. ".runs", range, text.runs(pfns, MOST_RUNS))
    local cap = protocol.prefs.pfn_cap
    for index = 1, math.min(#pfns, cap) do
      local entry = range_of(bytes, body_at + one.offset + 8 * (index - 1), 8)
      local item = put(runs, name, entry, pfns[index])
      if element.typed then
        item:append_text(" " .. type_word(types[index]))
      end
    end
    if #pfns > cap then
      runs:append_text(" (only the first " .. text.number(cap) .. " are listed below)")
    end
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- A record

  -- A unit with what its body says: its elements, their values by name, and one line.
  local function describe(unit)
    local nodes = values.nodes(unit)
    local known = values.of(unit, nodes)
    return { unit = unit, nodes = nodes, known = known, facts = text.utf8(text.facts(unit, known)) }
  end

  local function lost_text(unit, missing)
    local total = 0
    for _, part in ipairs(missing) do
      total = total + part.length
    end
    return total, text.counted(total, "byte") .. " of this " .. unit.name .. " missing"
  end

  -- The missing bytes of a unit, and the pages whose contents are not whole.
  local function add_lost(node, range, unit, missing, total)
    local item = put(node, "xenmig.lost", range, total)
    item:set_generated()
    local shown = 0
    for _, part in ipairs(missing) do
      derive(item, "xenmig.lost.offset", range, part.offset)
      derive(item, "xenmig.lost.length", range, part.length)
      local first, last = values.pages_between(unit, part.offset, part.offset + part.length)
      for index = math.max(first or 1, shown + 1), last or 0 do
        derive(item, "xenmig.lost.pfn", range, values.page_pfn(unit, index))
        shown = index
      end
    end
  end

  local function add_common(node, range, side, unit, place)
    derive(node, "xenmig.direction", range, streams.role(side))
    derive(node, "xenmig.layer", range, unit.record.layer)
    derive(node, "xenmig.type", range, unit.name)
    derive(node, "xenmig.offset", range, unit.offset)
    derive(node, "xenmig.size", range, unit.size)
    derive(node, "xenmig.record", range, unit.number)
    derive(node, "xenmig.first_frame", range, unit.first_frame)
    if unit.last_frame and unit.last_frame > 0 then
      derive(node, "xenmig.last_frame", range, unit.last_frame)
    end
    local missing = streams.missing(side, unit)
    local total, said = lost_text(unit, missing)
    if place.visited or total > 0 or unit.last_frame then
      derive(node, "xenmig.complete", range, total == 0)
    end
    if total > 0 then
      add_lost(node, range, unit, missing, total)
      node:add_proto_expert_info(fields.experts.cut, said)
    end
  end

  local function add_header(node, bytes, unit)
    if unit.type_id then
      put(node, "xenmig.type_id", range_of(bytes, unit.offset, 4), unit.type_id)
      put(node, "xenmig.body_length", range_of(bytes, unit.offset + 4, 4), unit.body_length)
    end
  end

  local function add_dirty_list(node, prefix, bytes, unit)
    if not unit.extra or not unit.extra.header_size then
      return
    end
    local range = range_of(bytes, unit.offset, unit.extra.header_size)
    derive(node, prefix .. ".header_size", range, unit.extra.header_size)
    if unit.header_size > 8 then
      put(node, prefix .. ".stray", range_of(bytes, unit.offset + 8, unit.header_size - 8))
    end
    if unit.extra.header_size_inferred then
      derive(node, prefix .. ".header_size_inferred", range, true)
    end
  end

  -- What is wrong with a record: told where it is, in words.
  local function add_found(node, range, side, found)
    local item = put(node, "xenmig.finding", range, found.id)
    item:set_generated()
    derive(item, "xenmig.finding.severity", range, RULES[found.id].severity)
    derive(item, "xenmig.finding.direction", range, streams.role(side))
    derive(item, "xenmig.finding.offset", range, found.offset)
    item:add_proto_expert_info(fields.experts[found.id], text.utf8(found.text))
  end

  local function add_unit(root, side, described, place)
    local unit = described.unit
    local bytes = bytes_of(unit, place)
    local prefix = "xenmig." .. unit.record.layer .. "." .. unit.name:lower()
    local range = range_of(bytes, unit.offset, unit.size)
    local node = put(root, prefix, range)
    local facts = described.facts
    local label = unit.name .. " #" .. text.number(unit.number or 0)
    node:set_text(label .. (facts ~= "" and ": " or "") .. facts)
    add_common(node, range, side, unit, place)
    add_header(node, bytes, unit)
    add_dirty_list(node, prefix, bytes, unit)
    local body_at = unit.offset + unit.header_size
    add_elements(node, unit, described.nodes, prefix, bytes, body_at, described.known)
    for _, found in ipairs(unit.found or {}) do
      add_found(node, range, side, found)
    end
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- Contents of a record that began in an earlier frame

  local function contents_text(unit, place)
    local first, last = values.pfns_between(unit, place.position, place.stop)
    local said = unit.name .. " #" .. text.number(unit.number or 0)
    if first then
      return said .. " contents, pfn " .. text.span(first, last), first, last
    elseif place.position <= unit.offset then
      return said .. " begins"
    end
    return said .. " continued"
  end

  local function add_contents(root, unit, place)
    local said, first, last = contents_text(unit, place)
    local range = range_of(frame_bytes(place), unit.offset, unit.size)
    local node = put(root, "xenmig.contents", range)
    node:set_text(said)
    derive(node, "xenmig.contents.record", range, unit.number)
    derive(node, "xenmig.contents.frame", range, unit.frame or unit.first_frame)
    derive(node, "xenmig.contents.first_pfn", range, first)
    derive(node, "xenmig.contents.last_pfn", range, last)
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- Notes: gaps, resynchronisation, findings

  local add_note = {}

  function add_note.gap(root, note, range, side)
    local said = text.counted(note.length, "byte") .. " from stream offset " .. text.number(note.offset)
    local item = put(root, "xenmig.gap.length", range, note.length)
    item:set_generated()
    derive(item, "xenmig.gap.direction", range, streams.role(side))
    derive(item, "xenmig.gap.offset", range, note.offset)
    derive(item, "xenmig.gap.reason", range, note.reason)
    item:add_proto_expert_info(fields.experts.gap, said .. " never came")
    return "[" .. text.counted(note.length, "byte") .. " lost]"
  end

  function add_note.resync(root, note, range, side)
    local item = put(root, "xenmig.resync.skipped", range, note.skipped)
    item:set_generated()
    derive(item, "xenmig.resync.direction", range, streams.role(side))
    derive(item, "xenmig.resync.offset", range, note.offset)
    local found = note.found ~= "" and note.found or nil
    derive(item, "xenmig.resync.found", range, found)
    local said = text.counted(note.skipped, "byte") .. " skipped " .. (found and "to reach " .. found or "to the end")
    item:add_proto_expert_info(fields.experts.resync, said)
    return "[resync]"
  end

  function add_note.finding(root, note, range, side)
    local item = put(root, "xenmig.finding", range, note.id)
    item:set_generated()
    derive(item, "xenmig.finding.severity", range, note.severity or RULES[note.id].severity)
    derive(item, "xenmig.finding.direction", range, streams.role(side))
    derive(item, "xenmig.finding.offset", range, note.offset)
    item:add_proto_expert_info(fields.experts[note.id], note.text)
    return "[" .. note.text .. "]"
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- A frame

  local function append(list, more)
    for _, item in ipairs(more or {}) do
      list[#list + 1] = item
    end
  end

  -- What of a side belongs into a frame: units and notes. On its first visit, what was just found.
  local function gather(side, place)
    if not place.visited then
      return streams.take_fresh(side)
    end
    local units, notes = {}, {}
    append(units, side.home[place.frame])
    append(notes, side.notes[place.frame])
    if side.preview then
      append(units, side.preview.home[place.frame])
      append(notes, side.preview.notes[place.frame])
    end
    return units, notes
  end

  local function shown_here(units, unit)
    for _, one in ipairs(units) do
      if one == unit then
        return true
      end
    end
    return false
  end

  local function add_summary(root, side, range)
    local stream = side.stream
    local flow = stream.flow.announced and stream.flow or stream.end_flow or stream.flow
    derive(root, "xenmig.flow", range, stream.index)
    derive(root, "xenmig.mode", range, flow.mode)
    derive(root, "xenmig.entry", range, flow.entry)
  end

  local MOST_IN_INFO = 6 -- of a frame full of small records

  -- `described` has the units that were shown as items.
  local function info_text(side, place, units, contents, said, described)
    local pieces = {}
    if contents then
      pieces[1] = (contents_text(contents, place))
    end
    for index, unit in ipairs(units) do
      if index > MOST_IN_INFO then
        pieces[#pieces + 1] = "and " .. text.counted(#units - MOST_IN_INFO, "more record")
        break
      end
      local facts = (described[index] or describe(unit)).facts
      local number = codec.list_plan(unit.record) and unit.number and " #" .. text.number(unit.number) or ""
      pieces[#pieces + 1] = unit.name .. number .. (facts ~= "" and " " .. facts or "")
    end
    for _, one in ipairs(said) do
      pieces[#pieces + 1] = one
    end
    if #pieces == 0 then
      local lost = side.follower.search and "looking for a record head, " or ""
      pieces[1] = lost .. "stream bytes from " .. text.number(place.position)
    end
    return ARROWS[streams.role(side) or "forward"] .. " " .. table.concat(pieces, " | ")
  end

  -- Items for what was found, and one for the contents of `contents` (may be nil). Returns words for the Info column,
  -- and the units described.
  local function add_items(side, place, tree, units, notes, contents)
    local said, described = {}, {}
    local range = range_of(frame_bytes(place), place.position, place.stop - place.position)
    local root = tree:add(protocol, range)
    root:append_text(", " .. streams.role(side) .. ", stream offset " .. text.number(place.position))
    add_summary(root, side, range)
    if contents then
      add_contents(root, contents, place)
    end
    for index, unit in ipairs(units) do
      described[index] = describe(unit)
      add_unit(root, side, described[index], place)
    end
    for index, note in ipairs(notes) do
      said[index] = add_note[note.kind](root, note, range, side)
    end
    if place.late then
      root:add_proto_expert_info(fields.experts.late, "Wireshark's TCP does not pass this segment on")
    end
    return said, described
  end

  -- Whether details are asked for: the tree is looked at, or one of our fields is in a filter or column.
  function show.wanted(tree)
    return tree ~= nil and tree:referenced(show.dissector)
  end

  local function show_side(side, place, pinfo, tree, contents)
    local units, notes = gather(side, place)
    if contents and shown_here(units, contents) then
      contents = nil
    end
    local said, described = {}, {}
    if show.wanted(tree) then
      visible = tree.visible
      said, described = add_items(side, place, tree, units, notes, contents)
    end
    local info = info_text(side, place, units, contents, said, described)
    if place.late then
      pinfo.cols.info:append(" | " .. info)
    else
      pinfo.cols.info:set(info)
    end
  end

  -- Show a side in one of its frames. `place`: tvb, at (where the payload begins in it), position and stop (stream
  -- offsets of the payload), frame, visited, late (TCP did not give us this frame).
  function show.frame(side, place, pinfo, tree)
    pinfo.cols.protocol = "XENMIG"
    show_side(side, place, pinfo, tree, streams.unit_at(side, place.position))
  end

  -- Show what a frame of the opposite side settled. It has no bytes of this side.
  function show.found(side, place, pinfo, tree)
    place.late = true
    show_side(side, place, pinfo, tree, nil)
  end
end
