-- SPDX-License-Identifier: GPL-2.0-or-later
-- Numbers, runs of page frame numbers and one-line descriptions, as a person would write them.

local text = {}

do
  -- Numbers of 64 bits are floats here, which Lua 5.3 and later do not take for %d and %x when they are large.
  function text.number(value)
    return string.format("%.0f", value)
  end

  function text.hex(value)
    if value < 4294967296 then
      return string.format("0x%x", value)
    end
    return string.format("0x%x%08x", math.floor(value / 4294967296), value % 4294967296)
  end

  local PLURALS = { leaf = "leaves" }

  function text.counted(count, noun)
    return text.number(count) .. " " .. (count == 1 and noun or PLURALS[noun] or noun .. "s")
  end

  function text.span(first, last)
    if last == nil or first == last then
      return text.hex(first)
    end
    return text.hex(first) .. "-" .. text.hex(last)
  end

  -- Length of the UTF-8 sequence at `at`; 0 and the length of its wrong start when it is none.
  local function sequence(raw, at)
    local first = raw:byte(at)
    local size, low, high = 0, 0x80, 0xBF
    if first >= 0xC2 and first <= 0xDF then
      size = 2
    elseif first >= 0xE0 and first <= 0xEF then
      size = 3
      low = first == 0xE0 and 0xA0 or low
      high = first == 0xED and 0x9F or high
    elseif first >= 0xF0 and first <= 0xF4 then
      size = 4
      low = first == 0xF0 and 0x90 or low
      high = first == 0xF4 and 0x8F or high
    end
    for index = 1, size - 1 do
      local byte = raw:byte(at + index)
      if byte == nil or byte < low or byte > high then
        return 0, index
      end
      low, high = 0x80, 0xBF
    end
    return size, 1
  end

  local REPLACEMENT = "\239\191\189"

  -- Text as UTF-8 without NUL bytes: what is no UTF-8 becomes the replacement character.
  function text.utf8(raw)
    if not raw:find("[\0\128-\255]") then
      return raw
    end
    local pieces, at = {}, 1
    while at <= #raw do
      local plain = raw:match("^[\1-\127]+", at)
      if plain then
        pieces[#pieces + 1] = plain
        at = at + #plain
      elseif raw:byte(at) == 0 then
        pieces[#pieces + 1] = "\226\144\128" -- the symbol for NUL
        at = at + 1
      else
        local size, wrong = sequence(raw, at)
        pieces[#pieces + 1] = size > 0 and raw:sub(at, at + size - 1) or REPLACEMENT
        at = at + (size > 0 and size or wrong)
      end
    end
    return table.concat(pieces)
  end

  -- Runs of numbers that follow each other: "0x0-0x3ff 0x500", cut after `most` runs.
  function text.runs(numbers, most)
    local pieces, count, first = {}, 0, nil
    for index = 1, #numbers do
      first = first or numbers[index]
      if numbers[index + 1] ~= numbers[index] + 1 then
        count = count + 1
        if count <= most then
          pieces[count] = text.span(first, numbers[index])
        end
        first = nil
      end
    end
    if count > most then
      pieces[most + 1] = "and " .. text.counted(count - most, "more run")
    end
    return table.concat(pieces, " ")
  end

  -- One line about a record ----------------------------------------------------------------------------------------

  local function named(body, name)
    local word = body[name .. "_name"]
    if word and word ~= "" then
      return word
    end
    return body[name] and name .. " " .. text.hex(body[name])
  end

  local special = {}

  special["xl.SAVE_FILE_HEADER"] = function(body)
    if not body.optional_data_len then
      return nil
    end
    local flags = body.mandatory_flags_name ~= "" and body.mandatory_flags_name or "no flags"
    return flags .. ", " .. text.counted(body.optional_data_len, "byte") .. " of optional data"
  end

  special["libxl.STREAM_HEADER"] = function(body)
    local options = body.options_name
    return body.version
      and "version " .. text.number(body.version) .. (options and options ~= "" and ", " .. options or "")
  end
  special["libxc.IMAGE_HEADER"] = special["libxl.STREAM_HEADER"]

  special["xl.BANNER"] = function()
    return "receiver ready"
  end

  special["xl.CONFIG"] = function(body)
    return body.config_len and text.counted(body.config_len, "byte") .. " of configuration"
  end

  special["xl.REPORT_STATUS"] = function(body)
    return body.status and text.number(body.status) .. " " .. (body.status_name or "no known error code")
  end

  special["libxc.DOMAIN_HEADER"] = function(body)
    if not body.xen_minor then
      return named(body, "type")
    end
    return string.format("%s, Xen %d.%d", named(body, "type"), body.xen_major, body.xen_minor)
  end

  special["libxc.PAGE_DATA"] = function(body)
    if not body.first_pfn then
      return "list lost"
    end
    local said = text.counted(body.count, "pfn") .. " " .. text.span(body.first_pfn, body.last_pfn)
    for _, kind in ipairs({ "XTAB", "XALLOC", "BROKEN" }) do
      if body.types and body.types[kind] then
        said = said .. ", " .. text.number(body.types[kind]) .. " " .. kind
      end
    end
    return said
  end

  special["libxc.CHECKPOINT_DIRTY_PFN_LIST"] = function(body, unit)
    local said = text.counted(body.count or 0, "pfn")
    if body.first_pfn then
      said = said .. " " .. text.span(body.first_pfn, body.last_pfn)
    end
    if unit.header_size ~= 8 then
      said = said .. ", " .. text.number(unit.header_size) .. "-byte header (Xen 4.18+)"
    end
    return said
  end

  special["libxc.X86_TSC_INFO"] = function(body)
    if not body.incarnation then
      return nil
    end
    return string.format("%s, %.3f MHz, incarnation %d", named(body, "mode"), body.khz / 1000, body.incarnation)
  end

  special["libxc.HVM_CONTEXT"] = function(body)
    return body.section_count and text.counted(body.section_count, "section")
  end

  local function unknown(_, unit)
    return "type " .. text.hex(unit.type_id)
  end
  special["libxl.UNKNOWN"] = unknown
  special["libxc.UNKNOWN"] = unknown

  -- The first facts of a body as its definition names them.
  local describe = {}

  function describe.field(element, body)
    local value = body[element.name]
    if value == nil or element.reserved or element.const or body[element.name .. "_count"] then
      return nil
    end
    local word = body[element.name .. "_name"]
    if word and word ~= "" then
      return word
    end
    return element.name .. " " .. (element.hexadecimal and text.hex(value) or text.number(value))
  end

  function describe.bytes(element, body)
    local length = body[element.name .. "_length"]
    return length and not element.const and text.counted(length, "byte") or nil
  end

  function describe.array(element, body)
    local count = body[element.name .. "_count"]
    return count and text.counted(count, element.name)
  end

  function describe.pairs(element, body)
    return body[element.name] and text.counted(#body[element.name], "key")
  end

  function describe.pfns(_, body)
    return body.first_pfn and "pfns " .. text.span(body.first_pfn, body.last_pfn)
  end

  function describe.pages()
    return nil
  end

  local function generic(body, record)
    local said = {}
    for _, element in ipairs(record.body) do
      local counts_array = element.name == "count" and record.body[#record.body].kind == "array"
      if not counts_array and #said < 3 then
        said[#said + 1] = describe[element.kind](element, body)
      end
    end
    return table.concat(said, ", ")
  end

  -- What to say about a record; empty when there is nothing. `body` comes from values.of().
  function text.facts(unit, body)
    local record = unit.record
    local said = special[record.layer .. "." .. unit.name]
    said = said and said(body, unit)
    return said or generic(body, record)
  end
end
