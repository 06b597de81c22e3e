-- SPDX-License-Identifier: GPL-2.0-or-later
-- The decoded body of a unit: the same names and values as `fields` in the JSON of `xendissect read --json`.
-- Mirrors decode() in dissector/wire/codec.py of xendissect; what is cut off is left out.

local values = {}

do
  local byte, sub = string.byte, string.sub

  -- Whether a bit of a field is set. A u64 as a number has not all of its bits, its bytes have.
  function values.bit(node, bit, order)
    local value = node.value
    if node.size == 8 then
      local low, high = codec.halves(node.raw, 1, node.element.order or order)
      value = bit < 32 and low or high
      bit = bit % 32
    end
    return math.floor(value / 2 ^ bit) % 2 == 1
  end

  -- The name of the value of a field, or of the bits that are set; empty when there is none.
  function values.name_of(names, node, order)
    if names.kind == "enum" then
      return names.values[node.value] or ""
    end
    local set = {}
    for bit = 0, 8 * node.size - 1 do
      if names.values[bit] and values.bit(node, bit, order) then
        set[#set + 1] = names.values[bit]
      end
    end
    return table.concat(set, ", ")
  end

  -- The names of a field's values, which may depend on the integers before it (`seen`).
  function values.names_among(element, seen)
    local by = element.names_by
    if not by then
      return element.names
    end
    local key = {}
    for index, name in ipairs(by.fields) do
      key[index] = string.format("%.0f", seen[name] or -1)
    end
    return by.names[table.concat(key, "/")]
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

  -- How each kind of element adds to `fields`. `how.deep`: also what is inside of runs of bytes, and names that depend
  -- on other fields; `how.lengths`: of runs of bytes only their lengths.
  local add = {}

  local DEEP, BRIEF, INSIDE_BRIEF = { deep = true }, {}, { lengths = true }

  local function add_nodes(unit, nodes, fields, how)
    local seen = {}
    for _, node in ipairs(nodes) do
      local element = node.element
      add[element.kind](unit, node, fields, how, seen)
      if element.kind == "field" then
        seen[element.name] = node.value
      end
    end
    return fields
  end

  function add.field(unit, node, fields, how, seen)
    local element = node.element
    fields[element.name] = node.value
    local names = element.names
    if how.deep then
      names = values.names_among(element, seen)
    end
    if names then
      fields[element.name .. "_name"] = values.name_of(names, node, unit.order)
    end
  end

  -- The members of a text in JSON that are there, and what is wrong with it. What does not begin like an object is no
  -- such text.
  local function add_members(node, fields)
    local element, raw = node.element, node.value
    if not raw:find("^[ \t\r\n]*{") or #raw > CONST.LONGEST_JSON then
      return
    end
    local whole = json.parse((raw:gsub("\0$", "")))
    if type(whole) ~= "table" then
      fields[element.name .. "_error"] = "no JSON"
      return
    elseif sub(raw, -1) ~= "\0" then
      fields[element.name .. "_error"] = "no NUL at the end"
    end
    for _, member in ipairs(element.members) do
      local value = whole
      for _, key in ipairs(member.path) do
        value = type(value) == "table" and value[key] or nil
      end
      if member.kind == "text" and type(value) == "string" then
        fields[member.name] = value
      elseif member.kind == "number" and type(value) == "number" and value >= 0 and value <= CONST.LARGEST_MEMBER then
        fields[member.name] = value
      end
    end
  end

  function add.bytes(unit, node, fields, how)
    local name, layout = node.element.name, node.layout
    if node.element.text then
      fields[name] = node.value:gsub("\0+$", "")
      if node.element.members and node.size == fields[node.element.length] then
        add_members(node, fields)
      end
    elseif node.size > 0 then
      fields[name .. "_length"] = node.size
      fields[name] = node.size <= 64 and not how.lengths and node.value or nil
      if layout and (how.deep or layout.brief) then
        fields[layout.key] = add_nodes(unit, values.inside(unit, node), {}, how.deep and DEEP or INSIDE_BRIEF)
      end
    end
  end

  -- What is inside the bytes of a node: nodes.
  function values.inside(unit, node)
    return node.inside or codec.inside(node, unit.order)
  end

  -- Bytes behind a chain or pairs that belong to none of them; nil when there are none, or the body is cut.
  local function rest(unit, left)
    return left > 0 and not values.is_cut(unit) and left or nil
  end

  function add.array(unit, node, fields, how)
    local rows, name = {}, node.element.name
    for index, item in ipairs(node.value) do
      rows[index] = add_nodes(unit, item, {}, how)
    end
    fields[name] = rows
    fields[name .. "_count"] = #rows
    if node.element.last then
      fields[name .. "_rest"] = rest(unit, #unit.body - node.offset - node.size)
    end
  end

  function add.numbers(_, node, fields)
    fields[node.element.name] = node.value
  end

  function add.skip() end

  function add.pairs(unit, node, fields)
    local left = node.size
    for _, pair in ipairs(node.value) do
      left = left - #pair[1] - #pair[2] - 2
    end
    fields[node.element.name] = node.value
    fields[node.element.name .. "_rest"] = rest(unit, left)
  end

  add.pfns = add_list

  -- Items of an array that are looked at: more than any record of Xen has.
  local MOST_ITEMS = 16384

  -- Whether bytes of a unit's body are not there.
  function values.is_cut(unit)
    return unit.body_length ~= nil and (unit.full_length or #unit.body) < unit.body_length
  end

  -- The elements of a unit's body. How long the last one is, and so what is inside, is not known of a cut body.
  function values.nodes(unit)
    local nodes = codec.walk(unit.record, unit.body, unit.order, MOST_ITEMS)
    local last = nodes[#nodes]
    if last and last.layout and not last.element.length then
      if unit.full_length then
        last.inside = unit.inside
      elseif values.is_cut(unit) then
        last.layout = nil
      end
    end
    return nodes
  end

  -- Everything a unit says, by name; `nodes` (optional) are its elements; `deep`: what is inside of blobs too.
  function values.of(unit, nodes, deep)
    return add_nodes(unit, nodes or values.nodes(unit), {}, deep and DEEP or BRIEF)
  end

  -- Let go of what is behind the first `most` bytes of a long last element; what is inside of it was read before.
  function values.slim(unit, most)
    local last = unit.record.body[#unit.record.body]
    if not last or last.kind ~= "bytes" or last.length or #unit.body <= most then
      return
    end
    local nodes = last.inside and values.nodes(unit) or {}
    local node = nodes[#nodes]
    local found = node and node.layout and codec.inside(node, unit.order) or nil
    for _, one in ipairs(found or {}) do
      for _, item in ipairs(one.element.kind == "array" and one.value or {}) do
        for _, inner in ipairs(item) do
          if inner.size > 64 and inner.element.kind == "bytes" then
            inner.value = sub(inner.value, 1, 64)
          end
        end
      end
    end
    unit.inside = found
    unit.full_length = #unit.body
    unit.body = sub(unit.body, 1, most)
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
