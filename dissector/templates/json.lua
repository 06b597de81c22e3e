-- SPDX-License-Identifier: GPL-2.0-or-later
-- JSON, as strict as Python's: what is no JSON gives nil. Of lists, words and numbers with a fraction it is only known
-- that they are there: nobody asks for more. Mirrors what dissector/wire/members.py of xendissect has from Python.

local json = {}

do
  local find, sub = string.find, string.sub
  local DEEPEST = 500
  local NOTHING = {} -- a value that is there and has no contents
  local value

  local function blank(text, at)
    return find(text, "[^ \t\r\n]", at) or #text + 1
  end

  local function utf8(code)
    if code < 0x80 then
      return string.char(code)
    elseif code < 0x800 then
      return string.char(0xC0 + math.floor(code / 64), 0x80 + code % 64)
    elseif code < 0x10000 then
      return string.char(0xE0 + math.floor(code / 4096), 0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
    end
    local rest = code % 262144
    return string.char(
      0xF0 + math.floor(code / 262144),
      0x80 + math.floor(rest / 4096),
      0x80 + math.floor(rest / 64) % 64,
      0x80 + rest % 64
    )
  end

  local PLAIN = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["/"] = "/" }

  local function hex4(text, at)
    local digits = text:match("^%x%x%x%x", at)
    return digits and tonumber(digits, 16)
  end

  -- What the escape at `at` (of its backslash) stands for, and the place behind it; nil when it is none.
  local function escape(text, at)
    local letter = sub(text, at + 1, at + 1)
    if PLAIN[letter] then
      return PLAIN[letter], at + 2
    end
    local code = letter == "u" and hex4(text, at + 2)
    if not code then
      return nil
    end
    at = at + 6
    if code >= 0xD800 and code < 0xDC00 then
      local low = sub(text, at, at + 1) == "\\u" and hex4(text, at + 2)
      if low and low >= 0xDC00 and low < 0xE000 then
        return utf8(0x10000 + (code - 0xD800) * 1024 + low - 0xDC00), at + 6
      end
    end
    if code >= 0xD800 and code < 0xE000 then
      code = 0xFFFD -- half of a character
    end
    return utf8(code), at
  end

  -- The string that begins behind the quote at `at`, and the place behind its end; nil when it has none.
  local function text_value(text, at)
    local pieces = {}
    at = at + 1
    while true do
      local stop = find(text, '[\0-\31"\\]', at)
      if not stop then
        return nil
      end
      pieces[#pieces + 1] = sub(text, at, stop - 1)
      local found = sub(text, stop, stop)
      if found == '"' then
        return table.concat(pieces), stop + 1
      elseif found ~= "\\" then
        return nil
      end
      local said
      said, at = escape(text, stop)
      if not said then
        return nil
      end
      pieces[#pieces + 1] = said
    end
  end

  local function number_value(text, at)
    local whole = text:match("^%-?0", at) or text:match("^%-?[1-9]%d*", at)
    if not whole then
      return nil
    end
    local behind = at + #whole
    local more = text:match("^%.%d+", behind) or ""
    more = more .. (text:match("^[eE][+-]?%d+", behind + #more) or "")
    return more == "" and tonumber(whole) or NOTHING, behind + #more
  end

  local WORDS = { ["true"] = 4, ["false"] = 5, ["null"] = 4 }

  local function word_value(text, at)
    local word = text:match("^%a+", at)
    for known, size in pairs(WORDS) do
      if word and sub(word, 1, size) == known then
        return NOTHING, at + size
      end
    end
    return nil
  end

  -- The items of a list or an object that is opened at `at`: `item(at)` reads one and returns the place behind it.
  local function items(text, at, close, item)
    at = blank(text, at + 1)
    if sub(text, at, at) == close then
      return at + 1
    end
    while true do
      at = item(at)
      if not at then
        return nil
      end
      at = blank(text, at)
      local found = sub(text, at, at)
      if found == close then
        return at + 1
      elseif found ~= "," then
        return nil
      end
      at = blank(text, at + 1)
    end
  end

  local function object_value(text, at, depth)
    local object = {}
    local behind = items(text, at, "}", function(place)
      if sub(text, place, place) ~= '"' then
        return nil
      end
      local key, colon = text_value(text, place)
      colon = key and blank(text, colon)
      if not key or sub(text, colon, colon) ~= ":" then
        return nil
      end
      local found, after = value(text, blank(text, colon + 1), depth + 1)
      object[key] = found
      return found ~= nil and after or nil
    end)
    return behind and object, behind
  end

  local function list_value(text, at, depth)
    local behind = items(text, at, "]", function(place)
      local found, after = value(text, place, depth + 1)
      return found ~= nil and after or nil
    end)
    return behind and NOTHING, behind
  end

  -- The value at `at` and the place behind it; nil when there is none.
  function value(text, at, depth)
    local first = sub(text, at, at)
    if depth > DEEPEST then
      return nil
    elseif first == "{" then
      return object_value(text, at, depth)
    elseif first == "[" then
      return list_value(text, at, depth)
    elseif first == '"' then
      return text_value(text, at)
    elseif find(first, "[%d-]") then
      return number_value(text, at)
    end
    return word_value(text, at)
  end

  -- The object that a text is: member -> value; nil when it is no JSON.
  function json.parse(text)
    local found, behind = value(text, blank(text, 1), 1)
    if not found or blank(text, behind) <= #text then
      return nil
    end
    return found
  end
end
