-- SPDX-License-Identifier: GPL-2.0-or-later
-- Bodies by their definitions: what a body holds, how long it must be, and how sure it is that bytes are such a record.
-- Mirrors dissector/wire/codec.py of xendissect.
--
-- Works on the bytes that are there: fields beyond the end of a cut body are left out, never invented.
--
-- A u64 is a float and exact only below 2^53. Where more matters (fixed values, order of pfns) the bytes are compared.

local codec = {}

do
  local byte, sub = string.byte, string.sub

  -- The low and the high half of the u64 at place `at` (from 1) of a string.
  function codec.halves(text, at, order)
    local first, second = codec.uint(text, at, 4, order), codec.uint(text, at + 4, 4, order)
    if order == "little" then
      return first, second
    end
    return second, first
  end

  -- Integer of `size` bytes at place `at` (from 1) of a string.
  function codec.uint(text, at, size, order)
    local value = 0
    if size == 8 then
      local low, high = codec.halves(text, at, order)
      return high * 4294967296.0 + low
    elseif order == "little" then
      for place = at + size - 1, at, -1 do
        value = value * 256 + byte(text, place)
      end
    else
      for place = at, at + size - 1 do
        value = value * 256 + byte(text, place)
      end
    end
    return value
  end

  local function contains(list, wanted)
    for _, one in ipairs(list) do
      if one == wanted then
        return true
      end
    end
    return false
  end

  local function all_zero(text)
    return not text:find("[^\0]")
  end

  -- Fixed bytes that are not zero are evidence; zeros are everywhere in guest memory.
  local function count_nonzero(text)
    local _, count = text:gsub("[^\0]", "")
    return count
  end

  local function count_nonzero_bytes(number)
    local count = 0
    while number > 0 do
      if number % 256 > 0 then
        count = count + 1
      end
      number = math.floor(number / 256)
    end
    return count
  end

  -- Length without the zeros at both ends.
  local function stripped_length(text)
    local first = text:find("[^\0]")
    return first and #text - first + 1 - #text:match("\0*$", first) or 0
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- Lengths

  -- Whether a receiver accepts a body of this length.
  function codec.allows(length, count)
    if contains(length.tolerated, count) then
      return true
    end
    if #length.exact > 0 then
      return contains(length.exact, count)
    end
    if count < length.minimum or (count - length.minimum) % length.step > 0 then
      return false
    end
    return length.maximum == nil or count <= length.maximum
  end

  -- The same in words, for findings.
  function codec.allowed_text(length)
    if #length.exact > 0 then
      return table.concat(length.exact, " or ")
    elseif length.maximum == length.minimum then
      return tostring(length.minimum)
    end
    local text = "at least " .. length.minimum
    if length.step > 1 then
      text = length.minimum .. " + " .. length.step .. "n"
    end
    if length.maximum then
      text = text .. ", at most " .. length.maximum
    end
    return text
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- Walking a body

  local MOST_ITEMS = 65536 -- of a chain, whatever its bytes say

  -- How each kind of element is read at `position` (from 0): a node, or nil when it is not (wholly) there. `seen` holds
  -- the fields before it, of which some are lengths and counts.
  local read = {}

  -- The first `most` elements (nil: all) of one structure, the place behind them, and the integers among them; nil when
  -- a field is missing.
  local function read_item(elements, body, position, order, most)
    local seen, item = {}, {}
    for index = 1, most or #elements do
      local element = elements[index]
      local node = read[element.kind](element, body, position, seen, order)
      if node == nil then
        return nil
      end
      item[index] = node
      position = position + node.size
      if element.kind == "field" then
        seen[element.name] = node.value
      end
    end
    return item, position, seen
  end

  -- Which layout bytes have that are said to be `said` long; nil when none is known.
  local function chosen(choice, seen, said, raw)
    local found
    for _, one in ipairs(choice.layouts) do
      local fits
      if choice.by == "field" then
        fits = seen[choice.field] == one.value
      elseif choice.by == "length" then
        fits = said == one.value
      elseif choice.by == "prefix" then
        fits = sub(raw, 1, #one.value) == one.value
      else -- zeros: the last one if none fits
        fits = #raw == said and not raw:find("[^\0]", one.value + 1)
        found = #raw == said and one.layout or nil
      end
      if fits then
        found = one.layout
        break
      end
    end
    return found and codec.allows(found.length, said) and found or nil
  end

  function read.field(element, body, position, _, order)
    if #body - position < element.size then
      return nil
    end
    return {
      element = element,
      offset = position,
      size = element.size,
      value = codec.uint(body, position + 1, element.size, element.order or order),
      raw = sub(body, position + 1, position + element.size),
    }
  end

  function read.bytes(element, body, position, seen)
    local said = #body - position
    if type(element.length) == "string" then
      said = seen[element.length] or 0
    elseif element.length then
      said = element.length
    end
    local size = math.min(#body - position, said)
    local value = sub(body, position + 1, position + size)
    local layout = element.inside and chosen(element.inside, seen, said, value) or nil
    return { element = element, offset = position, size = size, value = value, layout = layout }
  end

  function read.numbers(element, body, position, _, order)
    local count = math.min(element.count, math.floor((#body - position) / element.size))
    local value = {}
    for index = 1, count do
      value[index] = codec.uint(body, position + 1 + element.size * (index - 1), element.size, order)
    end
    local size = count * element.size
    local raw = sub(body, position + 1, position + size)
    return { element = element, offset = position, size = size, value = value, raw = raw }
  end

  function read.skip(element, body, position)
    if #body - position < element.size then
      return nil
    end
    return { element = element, offset = position, size = element.size, value = "" }
  end

  function read.pfns(element, body, position, seen)
    local entries = math.floor((#body - position) / 8)
    if element.count then
      entries = math.min(entries, seen[element.count] or 0)
    end
    local value = sub(body, position + 1, position + 8 * entries)
    return { element = element, offset = position, size = #value, value = value }
  end

  -- Whether fields keep their maximum and texts have only the characters that names are made of.
  local function likely(head, scan)
    for _, node in ipairs(head) do
      local element = node.element
      if element.kind == "field" then
        if element.maximum and node.value > element.maximum then
          return false
        end
      elseif #node.value == 0 then
        return false
      else
        for at = 1, #node.value do
          if not scan.characters:find(sub(node.value, at, at), 1, true) then
            return false
          end
        end
      end
    end
    return true
  end

  -- Whether the bytes before `stop` are a footer of the structure that begins with `seen`.
  local function footed(scan, seen, raw)
    if not scan.footer or #raw < 5 or byte(raw, -5) ~= scan.footer then
      return false
    end
    return codec.uint(raw, #raw - 3, 4, "big") == seen[scan.footer_field]
  end

  -- Structures that do not say how long they are: found by what they begin with. The last element of each is what lies
  -- before the next; a footer between two of them belongs to neither.
  local function read_scanned(array, body, start, order, most)
    local scan, items = array.scan, {}
    local stop = math.max(start, #body - scan.behind)
    local view = sub(body, 1, stop)
    local starts = ""
    for value in pairs(scan.starts) do
      starts = starts .. string.char(value)
    end
    local position, last = start, array.items[#array.items]
    local function close(item, upto)
      local at = item.behind
      local state = sub(view, at + 1, upto)
      if footed(scan, item.seen, state) then
        state = sub(state, 1, -6)
      end
      item[#item + 1] = { element = last, offset = at, size = #state, value = state }
      item.behind, item.seen = nil, nil
    end
    local pattern = "[" .. starts .. "]"
    while #items < (most or MOST_ITEMS) do
      local at = view:find(pattern, position + 1)
      if not at then
        break
      end
      local head, behind, seen = read_item(array.items, view, at - 1, order, #array.items - 1)
      if head and likely(head, scan) then
        if items[1] then
          close(items[#items], at - 1)
        end
        head.behind, head.seen = behind, seen
        items[#items + 1] = head
        position = behind
      else
        position = at
      end
    end
    if items[1] then
      close(items[#items], stop)
    end
    return { element = array, offset = start, size = stop - start, value = items }
  end

  -- Items are read as long as they are whole, up to the count or to the one that is marked as the last. `more` says
  -- that there are others behind the first `most`.
  function read.array(element, body, position, seen, order, most)
    if element.scan then
      return read_scanned(element, body, position, order, most)
    end
    local start, items, last = position, {}, element.last
    local wanted = element.count
    if type(wanted) == "string" then
      wanted = seen[wanted] or 0
    end
    local more = false
    while position < #body and not (wanted and #items >= wanted) do
      if most and #items >= most then
        more = true
        break
      end
      local item, behind, inner = read_item(element.items, body, position, order)
      if item == nil then
        break
      end
      items[#items + 1] = item
      position = behind
      if last and (inner[last.name] == last.value or #items >= MOST_ITEMS) then
        break
      end
    end
    return { element = element, offset = start, size = position - start, value = items, more = more or nil }
  end

  -- "key NUL value NUL" pairs; a last text without its NUL is none.
  function read.pairs(element, body, position)
    local found, at = {}, position + 1
    while true do
      local key_end = body:find("\0", at, true)
      local value_end = key_end and body:find("\0", key_end + 1, true)
      if not value_end then
        break
      end
      found[#found + 1] = { sub(body, at, key_end - 1), sub(body, key_end + 1, value_end - 1) }
      at = value_end + 1
    end
    return { element = element, offset = position, size = #body - position, value = found }
  end

  -- Page contents are never collected, only passed over.
  function read.pages()
    return nil
  end

  local ALSO_WHEN_EMPTY = { field = true, pfns = true, array = true }

  -- Iterator over the elements that are there, in wire order. With `most`, no more items of an array are read: for
  -- those who show a part only, or (0) do not look inside. An array is always the last element.
  local function elements(record, body, order, most)
    local seen, position, index = {}, 0, 0
    return function()
      while true do
        index = index + 1
        local element = record.body[index]
        local node = element and read[element.kind](element, body, position, seen, order, most)
        if not node then
          index = #record.body
          return nil
        end
        if element.kind == "field" then
          seen[element.name] = node.value
        end
        position = position + node.size
        if node.size > 0 or ALSO_WHEN_EMPTY[element.kind] then
          return node
        end
      end
    end
  end

  -- Array of nodes { element, offset (in the body, from 0), size, value, raw (fields only) }. A value is a number, a
  -- string (bytes; of a pfn list its raw bytes), for an array its items (each an array of nodes), for pairs an array of
  -- { key, value }. A body that ends early gives fewer nodes. `most` (optional): items of an array that are read.
  function codec.walk(record, body, order, most)
    local nodes = {}
    for node in elements(record, body, order, most) do
      nodes[#nodes + 1] = node
    end
    return nodes
  end

  -- Whether nothing of an element is missing, so that what follows it is where it belongs.
  local function whole(node, seen)
    local element = node.element
    if element.kind == "array" and element.count then
      local count = element.count
      return #node.value == (type(count) == "string" and (seen[count] or 0) or count)
    elseif element.kind == "numbers" then
      return #node.value == element.count
    end
    return true
  end

  local function move(node, by)
    node.offset = node.offset + by
    if node.element.kind == "array" then
      for _, item in ipairs(node.value) do
        for _, inner in ipairs(item) do
          move(inner, by)
        end
      end
    end
    return node
  end

  -- What is inside the bytes of a node that has a layout, as far as it goes: nodes, with their offsets in the body.
  function codec.inside(node, order)
    local nodes, seen, position = {}, {}, 0
    for _, element in ipairs(node.layout.body) do
      local found = position <= #node.value and read[element.kind](element, node.value, position, seen, order) or nil
      if not found then
        break
      end
      position = position + found.size
      if element.kind == "field" then
        seen[element.name] = found.value
      end
      if found.size > 0 and element.kind ~= "skip" then
        nodes[#nodes + 1] = move(found, node.offset)
      end
      if not whole(found, seen) then
        break
      end
    end
    return nodes
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- Pfn lists

  -- The four bits above bit 60 of an entry are its page type, bits 52 to 59 are reserved, the rest is the pfn.
  function codec.entries(raw, order)
    local pfns, types = {}, {}
    for index = 1, math.floor(#raw / 8) do
      local low, high = codec.halves(raw, 8 * index - 7, order)
      pfns[index] = high % 1048576 * 4294967296.0 + low
      types[index] = math.floor(high / 268435456)
    end
    return pfns, types
  end

  -- How many entries of a typed list are followed by a page of contents.
  function codec.data_pages(raw, order)
    local count, carries = 0, CONST.DATA_PAGE_TYPES
    for at = order == "little" and 8 or 1, #raw, 8 do
      local top = byte(raw, at)
      if carries[(top - top % 16) / 16] then
        count = count + 1
      end
    end
    return count
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- Lengths that counts in the body ask for

  -- Of a record that ends in page contents: bytes before its pfn list, place (from 0) and size of the count.
  function codec.list_plan(record)
    local last = record.body[#record.body]
    if not last or last.kind ~= "pages" then
      return nil
    end
    local position, places = 0, {}
    for _, element in ipairs(record.body) do
      if element.kind == "pfns" and element.count then
        local place = places[element.count]
        return position, place.at, place.size
      elseif element.kind == "field" then
        places[element.name] = { at = position, size = element.size }
        position = position + element.size
      end
    end
    return nil
  end

  -- A PAGE_DATA tells by its pfn list how much contents follow; nil when not exactly count and list are at hand.
  local function length_with_pages(body, order, before, at, size)
    if #body < before then
      return nil
    end
    local total = before + 8 * codec.uint(body, at + 1, size, order)
    if #body ~= total then
      return nil
    end
    return total + CONST.PAGE_SIZE * codec.data_pages(sub(body, before + 1), order)
  end

  local function item_size(array)
    local size = 0
    for _, element in ipairs(array.items) do
      if element.kind == "field" then
        size = size + element.size
      end
    end
    return size
  end

  -- The body length that the counts in the body ask for; nil when there is no count or it is cut off.
  function codec.expected_length(record, body, order)
    local before, at, size = codec.list_plan(record)
    if before then
      return length_with_pages(body, order, before, at, size)
    end
    local total, seen, counted = 0, {}, false
    for node in elements(record, body, order, 0) do
      local element = node.element
      if element.kind == "field" then
        seen[element.name] = node.value
        total = total + element.size
      elseif element.kind == "array" and element.count then
        counted = true
        total = total + item_size(element) * (tonumber(element.count) or seen[element.count])
      else
        return nil
      end
    end
    return counted and total or nil
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- Evidence

  local function field_evidence(field, node, order)
    if field.const then
      local raw = node.raw
      if (field.order or order) == "little" then
        raw = raw:reverse()
      end
      return raw == field.const and count_nonzero(raw) or -1
    elseif field.reserved then
      return all_zero(node.raw) and 0 or -1
    elseif not field.maximum then
      return 0
    end
    local unnamed = field.names and field.names.kind == "enum" and not field.names.values[node.value]
    if unnamed or node.value > field.maximum then
      return -1
    end
    return all_zero(node.raw) and 0 or 1
  end

  local function bytes_evidence(element, node)
    if not element.const or node.size ~= element.length then
      return 0
    end
    return node.value == element.const and stripped_length(element.const) or -1
  end

  -- A list in ascending order is what guest memory rarely holds. Xen writes PAGE_DATA and the dirty list that way, but
  -- not the p2m frames. Entries are compared as two halves, because a u64 does not fit a float.
  local function pfns_evidence(element, raw, order)
    local sorted = element.name == "pfn"
    local low_at, high_at = 0, 4
    if order == "big" then
      low_at, high_at = 4, 0
    end
    local count, last_high, last_low = 0, -1, 0
    for at = 1, #raw, 8 do
      local low, high = codec.uint(raw, at + low_at, 4, order), codec.uint(raw, at + high_at, 4, order)
      local stray = false
      if element.typed then
        local top = math.floor(high / 1048576) -- page type and reserved bits
        if top % 256 > 0 or not CONST.PAGE_TYPE[math.floor(top / 256)] then
          return -1
        end
        high = high % 1048576
      else
        stray = at == 1 and high == 0 and low == 0 -- perhaps the stray word of a 4.18+ list
      end
      if not stray then
        if sorted and (high < last_high or (high == last_high and low <= last_low)) then
          return -1
        end
        count, last_high, last_low = count + 1, high, low
      end
    end
    return count > 1 and math.min(count - 1, 16) or 0
  end

  local function tells(element)
    return element.kind == "field" and (element.const or element.reserved or element.maximum)
  end

  -- Many items hold nothing that could speak for or against a record: they need not be read.
  local function items_that_tell(record)
    local last = record.body[#record.body]
    for _, element in ipairs(last and last.items or {}) do
      if tells(element) then
        return nil
      end
    end
    return 0
  end

  local function array_evidence(node, order)
    local weight = 0
    for _, item in ipairs(node.value) do
      for _, inner in ipairs(item) do
        local gain = inner.element.kind == "field" and field_evidence(inner.element, inner, order) or 0
        if gain < 0 then
          return -1
        end
        weight = weight + gain
      end
    end
    return weight
  end

  local function node_evidence(node, body, order, body_length)
    local element = node.element
    if element.kind == "field" then
      return field_evidence(element, node, order)
    elseif element.kind == "bytes" then
      return bytes_evidence(element, node)
    elseif element.kind == "pfns" then
      return pfns_evidence(element, node.value, order)
    elseif element.kind == "array" then
      return array_evidence(node, order)
    elseif element.kind == "pairs" and byte(body, -1) ~= 0 then
      return body_length == #body and -1 or 0
    end
    return 0
  end

  local function head_evidence(record, body_length)
    if not record.type_id then
      return 0
    elseif not codec.allows(record.length, body_length) then
      return -1
    end
    local weight = count_nonzero_bytes(record.type_id)
    if #record.length.exact > 0 then
      weight = weight + count_nonzero_bytes(body_length)
    end
    return weight
  end

  -- How sure it is that these bytes are a record of this type: -1 when they can not be, else the number of bytes that
  -- are fixed by the definition and not zero, and the like. `body` may be cut (for PAGE_DATA: count and pfn list);
  -- `body_length` is that of the record header, nil for headers and messages.
  function codec.evidence(record, body, order, body_length)
    local weight = head_evidence(record, body_length)
    if weight < 0 then
      return -1
    end
    for node in elements(record, body, order, items_that_tell(record)) do
      local gain = node_evidence(node, body, order, body_length)
      if gain < 0 then
        return -1
      end
      weight = weight + gain
    end
    local wanted = body_length and codec.expected_length(record, body, order)
    if wanted then
      if wanted ~= body_length and not contains(record.length.tolerated, body_length) then
        return -1
      end
      weight = weight + 2
    end
    local signature = record.signature
    if signature and sub(body, signature.at + 1, signature.at + #signature.text) == signature.text then
      weight = weight + stripped_length(signature.text)
    end
    return weight
  end
end
