-- SPDX-License-Identifier: GPL-2.0-or-later
-- The decoded body of a unit: the same names and values as `fields` in the JSON of `xendissect read --json`.
-- Mirrors decode() in dissector/wire/codec.py of xendissect; what is cut off is left out.

local values = {}

do
  local byte, sub = string.byte, string.sub

  -- The name of an enumerated value, or of the bits that are set; empty when there is none.
  function values.name_of(names, value)
    if names.kind == "enum" then
      return names.values[value] or ""
    end
    local set, highest = {}, 0
    for bit in pairs(names.values) do
      highest = math.max(highest, bit)
    end
    for bit = 0, highest do
      if names.values[bit] and math.floor(value / 2 ^ bit) % 2 == 1 then
        set[#set + 1] = names.values[bit]
      end
    end
    return table.concat(set, ", ")
  end

  -- How many entries of a typed pfn list have each page type, by name.
  function values.type_counts(raw, order)
    local counts = {}
    for at = order == "little" and 8 or 1, #raw, 8 do
      local nibble = math.floor(byte(raw, at) / 16)
      local name = CONST.PAGE_TYPE[nibble] or string.format("0x%x", nibble)
      counts[name] = (counts[name] or 0) + 1
    end
    return counts
  end

  -- The counts as text, in order of the type number: "NOTAB=1020 XTAB=4".
  function values.types_text(counts)
    local pieces = {}
    for nibble = 0, 15 do
      local name = CONST.PAGE_TYPE[nibble] or string.format("0x%x", nibble)
      if counts[name] then
        pieces[#pieces + 1] = string.format("%s=%d", name, counts[name])
      end
    end
    return table.concat(pieces, " ")
  end

  -- A pfn without its page type; `at` is the place (from 1) of the entry.
  local function pfn_at(raw, at, order, typed)
    local low, high = codec.halves(raw, at, order)
    if typed then
      high = high % 1048576
    end
    return high * 4294967296.0 + low
  end

  -- How many entries a list has on the wire, and whether all of them are at hand.
  local function list_size(unit, node, fields)
    local element = node.element
    local count = element.count and fields[element.count]
    if not count then
      local length = unit.body_length or node.offset + node.size
      count = math.floor((length - node.offset) / 8)
    end
    return count, node.size == 8 * count
  end

  local function add_list(unit, node, fields)
    local element, raw = node.element, node.value
    local count, whole = list_size(unit, node, fields)
    if element.count == nil then
      fields.count = count
    end
    if #raw == 0 then
      return
    end
    fields.first_pfn = pfn_at(raw, 1, unit.order, element.typed)
    if whole then
      fields.last_pfn = pfn_at(raw, #raw - 7, unit.order, element.typed)
      if element.typed then
        fields.data_pages = codec.data_pages(raw, unit.order)
        fields.types = values.type_counts(raw, unit.order)
      end
    end
  end

  local add = {}

  local function add_nodes(unit, nodes, fields)
    for _, node in ipairs(nodes) do
      add[node.element.kind](unit, node, fields)
    end
    return fields
  end

  function add.field(_, node, fields)
    local element = node.element
    fields[element.name] = node.value
    if element.names then
      fields[element.name .. "_name"] = values.name_of(element.names, node.value)
    end
  end

  function add.bytes(_, node, fields)
    local name = node.element.name
    if node.element.text then
      fields[name] = node.value:gsub("\0+$", "")
    elseif node.size > 0 then
      fields[name .. "_length"] = node.size
      fields[name] = node.size <= 64 and node.value or nil
    end
  end

  function add.array(unit, node, fields)
    local rows = {}
    for index, item in ipairs(node.value) do
      rows[index] = add_nodes(unit, item, {})
    end
    fields[node.element.name] = rows
    fields[node.element.name .. "_count"] = #rows
  end

  function add.pairs(_, node, fields)
    fields[node.element.name] = node.value
  end

  add.pfns = add_list

  -- Items of an array that are looked at: more than any record of Xen has.
  local MOST_ITEMS = 16384

  -- The elements of a unit's body.
  function values.nodes(unit)
    return codec.walk(unit.record, unit.body, unit.order, MOST_ITEMS)
  end

  -- Everything a unit says, by name; `nodes` (optional) are its elements.
  function values.of(unit, nodes)
    return add_nodes(unit, nodes or values.nodes(unit), {})
  end

  -- Which entries of a PAGE_DATA have contents, in order: the places (from 1) of the pfns in its list.
  function values.pages(unit)
    if unit.pages == nil then
      local pages, carries = {}, CONST.DATA_PAGE_TYPES
      local raw = sub(unit.body, codec.list_plan(unit.record) + 1)
      for at = unit.order == "little" and 8 or 1, #raw, 8 do
        if carries[math.floor(byte(raw, at) / 16)] then
          pages[#pages + 1] = math.floor((at - 1) / 8) + 1
        end
      end
      unit.pages = pages
    end
    return unit.pages
  end

  -- Where the page contents of a unit begin in the stream; false when its list is not whole or does not fit its length.
  local function contents_at(unit)
    local before = codec.list_plan(unit.record)
    if not before or #unit.body < before + 8 then
      return false
    elseif codec.expected_length(unit.record, unit.body, unit.order) ~= unit.body_length then
      return false
    end
    return unit.offset + unit.header_size + #unit.body
  end

  -- The pages whose contents lie in the stream bytes `start` to `stop`: first, last (counted from 1 among those that
  -- have contents); nil when none do.
  function values.pages_between(unit, start, stop)
    if unit.contents_at == nil or unit.contents_of ~= #unit.body then -- asked for every frame: remembered
      unit.contents_at, unit.contents_of = contents_at(unit), #unit.body
    end
    local contents = unit.contents_at
    if not contents or stop <= contents then
      return nil
    end
    local pages = values.pages(unit)
    local first = math.floor(math.max(start - contents, 0) / CONST.PAGE_SIZE) + 1
    local last = math.min(math.floor((stop - 1 - contents) / CONST.PAGE_SIZE) + 1, #pages)
    if not pages[first] or last < first then
      return nil
    end
    return first, last
  end

  -- The pfn of a page, counted from 1 among those that have contents.
  function values.page_pfn(unit, index)
    local before = codec.list_plan(unit.record)
    return pfn_at(unit.body, before + 8 * values.pages(unit)[index] - 7, unit.order, true)
  end

  -- The pfns whose contents lie in the stream bytes `start` to `stop`: first, last; nil when none do.
  function values.pfns_between(unit, start, stop)
    local first, last = values.pages_between(unit, start, stop)
    if not first then
      return nil
    end
    return values.page_pfn(unit, first), values.page_pfn(unit, last)
  end
end
