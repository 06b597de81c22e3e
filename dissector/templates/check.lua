-- SPDX-License-Identifier: GPL-2.0-or-later
-- What is wrong with a record: the rules of stream.md section 7 that can be judged here, with the same ids.
-- Mirrors dissector/check of xendissect: conditions by the table CONDITIONS, the others one small function each.
--
-- Each unit is judged once, when its head and what is wanted of its body are there, in the order of its direction;
-- what is found goes into unit.found: an array of {id=, text=, offset=}. What was not captured is not judged.

local check = {}

do
  local byte, sub, floor = string.byte, string.sub, math.floor
  local BODY_LENGTH = 4 -- where the length stands in a record header
  local FULL_BATCH = CONST.MAX_BATCH_SIZE
  local TERA = 4294967296.0
  local LIST = -1 -- what BACK_CHANNEL_ORDER calls a dirty list
  local NEW, READY = 0, 2

  -- What a direction begins with: at offset 0 it is the beginning even if the capture has no SYN.
  local HEADS = {
    ["xl.SAVE_FILE_HEADER"] = true,
    ["xl.BANNER"] = true,
    ["libxl.STREAM_HEADER"] = true,
    ["libxc.IMAGE_HEADER"] = true,
  }

  ---------------------------------------------------------------------------------------------------------------------
  -- What is remembered of a migration

  local function new_half()
    return {
      first = nil, -- the first unit
      last = nil, -- facts about the unit before
      adjoins = false, -- the present unit follows directly on it
      whole = false, -- every unit from the first byte of the stream on was seen
      count = {}, -- units before the present one, by definition
      stage = {}, -- likewise, since the last CHECKPOINT_END
      staged = 0, -- how many that are
      stage_whole = false,
      behind = 0, -- stream offset behind `last`
    }
  end

  -- Everything that is remembered of a connection.
  function check.session()
    return {
      halves = { forward = new_half(), reverse = new_half() },
      flags = nil, -- mandatory_flags of the xl header
      kind = "", -- pv, hvm or pvh as the configuration says
      options = nil, -- of the libxl header
      version = nil, -- of the libxc stream
      guest = "", -- PV or HVM as the domain header says
      xen = nil, -- {major, minor} likewise
      converted = false,
      width = nil, -- bytes of a word of a PV guest
      max_pfn = nil,
      inside = false, -- between CHECKPOINT and CHECKPOINT_END; "unknown" when that is not known
      vcpu0 = false, -- its registers came
      certain = true, -- the list of every PAGE_DATA was seen
      highest = -1, -- greatest pfn of those
      first_pass = true, -- it goes on
      expected = 0, -- the pfn with which it does
      told = false, -- a hole in it was reported
      last_batch = nil, -- {count, last pfn}
      status = nil, -- in the last report of the receiver
      checkpoint = nil, -- the first CHECKPOINT
    }
  end

  local function seen(half, key)
    return half.count[key] or 0
  end

  local function meet(half, unit, begun)
    if half.last == nil then
      half.first = unit
      half.whole = unit.offset == 0 and (begun or HEADS[unit.record.key] or false)
      half.stage_whole = half.whole
      return
    end
    half.adjoins = unit.offset == half.behind
    if not half.adjoins then
      half.whole, half.stage_whole = false, false
    end
  end

  local function original(session)
    return not session.converted and (session.options ~= nil or session.xen ~= nil)
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- Bodies

  local places = {}

  -- Where a field of a definition stands, and the field; nothing before it varies in size.
  local function place(record, name)
    local known = places[record] or {}
    places[record] = known
    if known[name] == nil then
      local at = 0
      for _, element in ipairs(record.body) do
        if element.kind == "field" and element.name == name then
          known[name] = { at = at, element = element }
          break
        end
        at = at + (element.size or element.length)
      end
    end
    return known[name]
  end

  -- An integer of a body; nil where the bytes end before it.
  local function number(unit, name)
    local found = place(unit.record, name)
    local element = found.element
    if #unit.body < found.at + element.size then
      return nil
    end
    return codec.uint(unit.body, found.at + 1, element.size, element.order or unit.order)
  end

  local function in_body(unit, offset)
    return offset + (unit.type_id and unit.header_size or 0)
  end

  -- Whether all bytes of the body are there.
  local function whole(unit, one)
    return (unit.body_length == nil or #unit.body >= unit.body_length) and #follower.missing(one, unit) == 0
  end

  local function text_of(value)
    return type(value) == "number" and string.format("%.0f", value) or tostring(value)
  end

  local function hex(value)
    local high, low = floor(value / TERA), value % TERA
    return high > 0 and string.format("0x%x%08x", high, low) or string.format("0x%x", low)
  end

  -- The 64 bits at `at` (from 1) in hexadecimal: a number may be too large for Lua's.
  local function hex64(raw, at, order)
    local low, high = codec.halves(raw, at, order)
    return high > 0 and string.format("0x%x%08x", high, low) or string.format("0x%x", low)
  end

  -- The same in decimal digits.
  local function decimal64(raw, at, order)
    local low, high = codec.halves(raw, at, order)
    local digits = {}
    while high > 0 or low > 0 do
      local rest = high % 10 * TERA + low
      high, low = floor(high / 10), floor(rest / 10)
      table.insert(digits, 1, string.format("%.0f", rest % 10))
    end
    return #digits > 0 and table.concat(digits) or "0"
  end

  local function spaced(raw)
    return framer.hex(raw, " ")
  end

  local function more_text(count, where)
    return count > 1 and " (and " .. text_of(count - 1) .. " more" .. where .. ")" or ""
  end

  -- Whether a record is a CHECKPOINT_STATE: with a wrong length it is read as the libxc record with the same number.
  local function is_state(unit, session)
    local key, half = unit.record.key, session.halves.forward
    local follows = half.adjoins and half.last ~= nil and half.last.key == "libxl.CHECKPOINT_END"
    return key == "libxl.CHECKPOINT_STATE" or (key == "libxc.X86_PV_VCPU_EXTENDED" and follows)
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- Findings

  local function tell(unit, id, at, facts)
    local shown = {}
    for name, value in pairs(facts or {}) do
      shown[name] = text_of(value)
    end
    local text = RULES[id].text:gsub("{([%w_]+):?(#?x?)}", function(name, form)
      local value = facts[name]
      return form == "#x" and type(value) == "number" and hex(value) or shown[name]
    end)
    unit.found = unit.found or {}
    unit.found[#unit.found + 1] = { id = id, text = text, offset = unit.offset + at }
  end

  local function wrong_length(unit, id, facts)
    facts = facts or {}
    facts.what, facts.length = unit.name, unit.body_length
    tell(unit, id, BODY_LENGTH, facts)
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- Conditions

  -- Whether two integers below 2^32 have a bit in common.
  local function common_bits(one, other)
    while one > 0 and other > 0 do
      if one % 2 == 1 and other % 2 == 1 then
        return true
      end
      one, other = floor(one / 2), floor(other / 2)
    end
    return false
  end

  local WHEN = {
    forward = function(_, _, role) return role == "forward" end,
    reverse = function(_, _, role) return role == "reverse" end,
    v2 = function(_, session) return session.version == 2 end,
    original = function(_, session) return original(session) end,
    inside = function(_, session) return session.inside == true end,
    outside = function(_, session) return session.inside == false end,
    ["not a state"] = function(unit, session) return not is_state(unit, session) end,
    ["has a head"] = function(unit) return unit.body_length >= 8 end,
  }

  local function among(list, value)
    for _, one in ipairs(list) do
      if one == value then
        return true
      end
    end
    return false
  end

  local function value_breaks(one, value)
    if one.zero and common_bits(value, one.zero) then
      return true
    elseif one.ones and common_bits(4294967295 - value, one.ones) then
      return true
    elseif among(one.forbidden, value) then
      return true
    end
    return (#one.allowed > 0 and not among(one.allowed, value)) or (one.maximum ~= nil and value > one.maximum)
  end

  local function value_text(one, unit)
    local name = one.tells or one.field
    local value = number(unit, name)
    local names = place(unit.record, name).element.names
    local word = value and names and names.kind == "enum" and names.values[value]
    if word then
      return text_of(value) .. " (" .. word .. ")"
    elseif one.said then
      return one.said .. text_of(value)
    end
    return value
  end

  local function judge(one, unit, session, role)
    if one.behind and seen(session.halves.forward, one.behind) == 0 then
      return
    elseif one.length and (unit.body_length == nil or codec.allows(one.length, unit.body_length)) then
      return
    end
    local value = one.field and number(unit, one.field)
    if one.field and not (value and value_breaks(one, value)) then
      return
    end
    for _, name in ipairs(one.when) do
      if not WHEN[name](unit, session, role) then
        return
      end
    end
    local at = one.length and BODY_LENGTH or 0
    local facts = { what = unit.name, length = unit.body_length, field = one.field }
    facts.step = one.length and one.length.step
    if one.field then
      at = in_body(unit, place(unit.record, one.field).at)
      facts.found = value_text(one, unit)
    end
    tell(unit, one.id, at, facts)
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- Rules with logic: id -> the records they look at, and the function

  local TESTS, ORDER = {}, {}

  local function test(id, on, judges)
    ORDER[#ORDER + 1] = id
    for _, key in ipairs(on) do
      TESTS[key] = TESTS[key] or {}
      TESTS[key][#TESTS[key] + 1] = { id = id, judges = judges }
    end
  end

  -- xl ---------------------------------------------------------------------------------------------------------------

  test("xl.save_file_header.byteorder", { "xl.SAVE_FILE_HEADER" }, function(unit, _, id)
    local found = sub(unit.body, 33, 36)
    if #found == 4 and found ~= "\4\3\2\1" then
      tell(unit, id, 32, { found = spaced(found) })
    end
  end)

  test("xl.config.length", { "xl.CONFIG" }, function(unit, _, id)
    local length = number(unit, "config_len")
    if unit.size < 4 then
      tell(unit, id, 0, { size = unit.size, problem = "expected none, or at least 4" })
    elseif length and 4 + length > unit.size then
      local said = "config_len " .. text_of(length) .. ", expected at most " .. text_of(unit.size - 4)
      tell(unit, id, 0, { size = unit.size, problem = said })
    end
  end)

  test("xl.config.surplus", { "xl.CONFIG", "xl.SAVE_FILE_HEADER" }, function(unit, _, id)
    if unit.name == "SAVE_FILE_HEADER" then
      if number(unit, "optional_data_len") == 0 then
        tell(unit, id, 44, { size = 0, expected = "more than 4" })
      end
      return
    end
    local length = number(unit, "config_len")
    if length and 4 + length < unit.size then
      tell(unit, id, 4 + length, { size = unit.size, expected = 4 + length })
    end
  end)

  -- The characters of UTF-8, as patterns.
  local CHARACTERS = {
    "^[\0-\127]+()",
    "^[\194-\223][\128-\191]()",
    "^\224[\160-\191][\128-\191]()",
    "^[\225-\236\238\239][\128-\191][\128-\191]()",
    "^\237[\128-\159][\128-\191]()",
    "^\240[\144-\191][\128-\191][\128-\191]()",
    "^[\241-\243][\128-\191][\128-\191][\128-\191]()",
    "^\244[\128-\143][\128-\191][\128-\191]()",
  }

  local function is_utf8(text)
    local at = 1
    while at <= #text do
      local behind
      for _, pattern in ipairs(CHARACTERS) do
        behind = behind or text:match(pattern, at)
      end
      if not behind then
        return false
      end
      at = behind
    end
    return true
  end

  -- The members of a configuration; nil when it is no JSON object.
  local function configuration(text)
    local raw = text:gsub("\0+$", "")
    if not raw:find("^[ \t\r\n]*{") or not is_utf8(raw) then
      return nil
    end
    local found = json.parse(raw)
    return type(found) == "table" and found or nil
  end

  local function config_text(unit)
    return sub(unit.body, 5, 4 + (number(unit, "config_len") or 0))
  end

  test("xl.config.json", { "xl.CONFIG" }, function(unit, session, id, _, one)
    local length = number(unit, "config_len")
    local is_json = session.flags and session.flags % 2 == 1
    if not is_json or not length or 4 + length > unit.size or #unit.body < unit.size or not whole(unit, one) then
      return
    end
    local text = config_text(unit)
    local nul = text:find("\0", 1, true)
    if not nul then
      tell(unit, id, 4 + #text - 1, { problem = "has no NUL at its end" })
    elseif nul < #text then
      tell(unit, id, 3 + nul, { problem = "has a NUL at byte " .. text_of(nul - 1) .. " of " .. text_of(#text) })
    elseif #text <= CONST.LONGEST_JSON and not configuration(text) then
      tell(unit, id, 4, { problem = "is no JSON object" })
    end
  end)

  test("xl.permission", { "xl.GO" }, function(unit, session, id, role)
    if role == "reverse" and session.status == 0 then
      local said = "the target hands back the permission to resume although it reported success"
      tell(unit, id, 0, { problem = said })
    end
  end)

  test("xl.banner_first", { "xl.BANNER", "xl.SAVE_FILE_HEADER" }, function(unit, session, id, role)
    local other = session.halves[role == "forward" and "reverse" or "forward"].first
    if not other then
      return
    end
    local banner, header = unit, other
    if unit.record.key ~= "xl.BANNER" then
      banner, header = other, unit
    end
    if banner.record.key ~= "xl.BANNER" or header.record.key ~= "xl.SAVE_FILE_HEADER" then
      return
    elseif header.first_frame < banner.first_frame then
      tell(header, id, 0)
    end
  end)

  -- libxl ------------------------------------------------------------------------------------------------------------

  local EMULATOR = { "libxl.EMULATOR_XENSTORE_DATA", "libxl.EMULATOR_CONTEXT" }

  test("libxl.record.unknown", { "libxl.UNKNOWN" }, function(unit, _, id)
    tell(unit, id, 0, { found = unit.type_id })
  end)

  test("libxl.emulator.guest_type", EMULATOR, function(unit, session, id)
    if session.guest == "PV" or session.kind == "pv" or session.kind == "pvh" then
      tell(unit, id, 0, { what = unit.name, guest = session.kind == "pvh" and "PVH" or "PV" })
    end
  end)

  test("libxl.emulator_context.magic", { "libxl.EMULATOR_CONTEXT" }, function(unit, _, id)
    local signature = unit.record.signature
    local found = sub(unit.body, signature.at + 1, signature.at + #signature.text)
    if found ~= sub(signature.text, 1, #found) then
      tell(unit, id, in_body(unit, signature.at), { found = spaced(found) })
    end
  end)

  -- Bytes that are no ASCII as Python's backslashreplace shows them.
  local function ascii(text)
    return (text:gsub("[\128-\255]", function(one) return string.format("\\x%02x", byte(one)) end))
  end

  test("libxl.xenstore_data.form", { "libxl.EMULATOR_XENSTORE_DATA" }, function(unit, _, id, _, one)
    if not whole(unit, one) then
      return
    end
    local body, at = unit.body, 8
    while at < #body do
      local nul = body:find("\0", at + 1, true)
      local last = nul and body:find("\0", nul + 1, true)
      local key = nul and sub(body, at + 1, nul - 1)
      local problem
      if not last then
        problem = "end before the NUL of a " .. (nul and "value" or "key")
      elseif key == "" then
        problem = "have an empty key"
      elseif sub(key, 1, 1) == "/" then
        problem = "have the absolute key " .. ascii(key)
      end
      if problem then
        tell(unit, id, in_body(unit, at), { problem = problem })
        return
      end
      at = last
    end
  end)

  local ESCAPED = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

  -- A text as Python's repr shows it.
  local function quoted(text)
    local shown = ascii(text):gsub("\\", "\\\\"):gsub("[%c\127]", function(one)
      return ESCAPED[one] or string.format("\\x%02x", byte(one))
    end)
    if shown:find("'", 1, true) and not shown:find('"', 1, true) then
      return '"' .. shown .. '"'
    end
    return "'" .. shown:gsub("'", "\\'") .. "'"
  end

  test("libxl.xenstore_data.key", { "libxl.EMULATOR_XENSTORE_DATA" }, function(unit, _, id)
    local body, at, is_key = unit.body, 8, true
    while true do
      local nul = body:find("\0", at + 1, true)
      if not nul then
        return
      end
      local strange = is_key and body:find("[^A-Za-z0-9/_@%-]", at + 1) or nul
      if strange < nul then
        tell(unit, id, in_body(unit, strange - 1), { found = quoted(sub(body, at + 1, nul - 1)) })
        return
      end
      at, is_key = nul, not is_key
    end
  end)

  local FIRST = { "libxl.LIBXC_CONTEXT", EMULATOR[1], EMULATOR[2], "libxl.END" }
  test("libxl.libxc_context.order", FIRST, function(unit, session, id)
    local half = session.halves.forward
    if unit.name == "LIBXC_CONTEXT" then
      if half.whole and seen(half, "libxl.LIBXC_CONTEXT") > 0 then
        tell(unit, id, 0, { problem = "a second LIBXC_CONTEXT" })
      end
    elseif half.adjoins and half.last and half.last.key == "libxl.STREAM_HEADER" then
      tell(unit, id, 0, { problem = "the first libxl record is " .. unit.name })
    end
  end)

  local STATE = { "libxl.CHECKPOINT_STATE", "libxc.X86_PV_VCPU_EXTENDED" }

  test("libxl.checkpoint_state.too_short", STATE, function(unit, session, id)
    if unit.body_length < 4 and is_state(unit, session) then
      wrong_length(unit, id)
    end
  end)

  test("libxl.checkpoint_state.length", STATE, function(unit, session, id)
    if unit.body_length > 4 and is_state(unit, session) then
      wrong_length(unit, id)
    end
  end)

  -- libxc ------------------------------------------------------------------------------------------------------------

  test("record.unknown_optional_buffered", { "libxc.UNKNOWN" }, function(unit, session, id)
    if unit.type_id >= CONST.OPTIONAL_RECORD and seen(session.halves.forward, "libxc.CHECKPOINT") > 0 then
      tell(unit, id, 0, { found = unit.type_id })
    end
  end)

  local OF_A_GUEST = {}
  for _, record in ipairs(ALL_RECORDS) do
    if record.layer == "libxc" and record.guests ~= "any" and record.direction ~= "reverse" then
      OF_A_GUEST[#OF_A_GUEST + 1] = record.key
    end
  end
  test("libxc.record.guest_type", OF_A_GUEST, function(unit, session, id, role)
    local wanted, guest = unit.record.guests, session.guest
    if role == "forward" and guest ~= "" and wanted ~= guest and not is_state(unit, session) then
      tell(unit, id, 0, { what = unit.name, wanted = wanted, guest = guest })
    end
  end)

  test("libxc.static_data_end.missing", { "libxc.PAGE_DATA", "libxc.X86_PV_P2M_FRAMES" }, function(unit, session, id)
    local half = session.halves.forward
    if session.version ~= 3 or not half.whole or seen(half, "libxc.STATIC_DATA_END") > 0 then
      return
    elseif seen(half, "libxc.PAGE_DATA") == 0 and seen(half, "libxc.X86_PV_P2M_FRAMES") == 0 then
      tell(unit, id, 0, { what = unit.name })
    end
  end)

  test("libxc.policy.absent", { "libxc.STATIC_DATA_END" }, function(unit, session, id)
    local half = session.halves.forward
    if session.version ~= 3 or not half.whole or seen(half, "libxc.STATIC_DATA_END") > 0 then
      return
    end
    for _, name in ipairs({ "X86_CPUID_POLICY", "X86_MSR_POLICY" }) do
      if seen(half, "libxc." .. name) == 0 then
        tell(unit, id, 0, { what = name })
      end
    end
  end)

  test("libxc.x86_msr_policy.flags", { "libxc.X86_MSR_POLICY" }, function(unit, _, id)
    for at = 0, #unit.body - 16, 16 do
      local flags = codec.uint(unit.body, at + 5, 4, unit.order)
      if flags > 0 then
        tell(unit, id, in_body(unit, at + 4), { found = flags, index = codec.uint(unit.body, at + 1, 4, unit.order) })
        return
      end
    end
  end)

  local NO_SUBLEAF = 0xFFFFFFFF

  -- A leaf with its subleaf, if it has one, or (subleaf nil) an MSR.
  local function entry_of(index, subleaf)
    return hex(index) .. (subleaf and subleaf ~= NO_SUBLEAF and "/" .. hex(subleaf) or "")
  end

  test("libxc.policy.order", { "libxc.X86_CPUID_POLICY", "libxc.X86_MSR_POLICY" }, function(unit, _, id)
    local leaves = unit.name == "X86_CPUID_POLICY"
    local size = leaves and 24 or 16
    local before, subleaf_before
    for at = 0, #unit.body - size, size do
      local index = codec.uint(unit.body, at + 1, 4, unit.order)
      local subleaf = leaves and codec.uint(unit.body, at + 5, 4, unit.order) or nil
      if before and (index < before or (index == before and (subleaf or 0) <= (subleaf_before or 0))) then
        local entry, behind = entry_of(index, subleaf), entry_of(before, subleaf_before)
        tell(unit, id, in_body(unit, at), { what = unit.name, entry = entry, before = behind })
        return
      end
      before, subleaf_before = index, subleaf
    end
  end)

  -- PAGE_DATA --------------------------------------------------------------------------------------------------------

  local HVM_TYPES = { [0] = true, [13] = true, [14] = true, [15] = true }
  local XALLOC = 14

  -- One walk along the list of a PAGE_DATA, for all of its rules. Of each kind of wrong entry, `numbers` says how many
  -- there are, and `firsts` has the first: {index=(from 0), pfn=, before=(the pfn before it), word=(its page type)}.
  local function scan(unit, session)
    local body, order = unit.body, unit.order
    if #body < 8 then
      return nil
    end
    local count = codec.uint(body, 1, 4, order)
    local there = math.min(count, floor((#body - 8) / 8))
    local found = { count = count, there = there, whole = there == count, numbers = {}, firsts = {} }
    local numbers, firsts = found.numbers, found.firsts
    local names, carries = CONST.PAGE_TYPE, CONST.DATA_PAGE_TYPES
    local maximum = session.guest == "PV" and session.max_pfn or math.huge
    local is_hvm, before, highest, pages = session.guest == "HVM", -1, -1, 0

    local function note(kind, index, pfn, word)
      if not numbers[kind] then
        numbers[kind], firsts[kind] = 0, { index = index, pfn = pfn, before = before, word = word }
      end
      numbers[kind] = numbers[kind] + 1
    end

    for index = 0, there - 1 do
      local at = 9 + 8 * index
      local b1, b2, b3, b4, b5, b6, b7, b8 = byte(body, at, at + 7)
      if order == "big" then
        b1, b2, b3, b4, b5, b6, b7, b8 = b8, b7, b6, b5, b4, b3, b2, b1
      end
      local pfn = b1 + b2 * 256 + b3 * 65536 + b4 * 16777216
      if b5 + b6 + b7 > 0 then
        pfn = pfn + (b5 + b6 * 256 + b7 % 16 * 65536) * TERA
      end
      local nibble = (b8 - b8 % 16) / 16
      if carries[nibble] then
        pages = pages + 1
      end
      if b7 > 15 or b8 ~= 16 * nibble then
        note("reserved", index, pfn)
      end
      if nibble > 0 then
        if not names[nibble] then
          note("type", index, pfn, nibble)
        elseif is_hvm and not HVM_TYPES[nibble] then
          note("hvm_type", index, pfn, nibble)
        end
        if nibble == XALLOC then
          note("xalloc", index, pfn)
        end
      end
      if pfn <= before then
        note("order", index, pfn)
      end
      if pfn > maximum then
        note("pfn", index, pfn)
      end
      if pfn > highest then
        highest = pfn
      end
      before = pfn
    end
    found.pages, found.highest = pages, highest
    found.first = there > 0 and codec.entries(sub(body, 9, 16), order)[1] or nil
    found.last = before
    return found
  end

  local function entry_at(unit, index)
    return in_body(unit, 8 + 8 * index)
  end

  local function tell_entry(unit, id, list, kind, facts)
    local first = list and list.firsts[kind]
    if first then
      facts = facts or {}
      facts.pfn, facts.before = first.pfn, first.before
      facts.more = more_text(list.numbers[kind], " in this record")
      tell(unit, id, entry_at(unit, first.index), facts)
    end
  end

  local PAGE_DATA = { "libxc.PAGE_DATA" }

  test("libxc.page_data.length", PAGE_DATA, function(unit, _, id, _, _, list)
    local length = unit.body_length
    if length < 8 then
      tell(unit, id, BODY_LENGTH, { length = length, expected = "at least 16" })
    elseif not list then
      return
    elseif list.count == 0 then
      tell(unit, id, in_body(unit, 0), { length = length, expected = "a count of at least 1" })
    elseif 8 + 8 * list.count > length then
      local said = "at least " .. text_of(8 + 8 * list.count) .. " for " .. text_of(list.count) .. " pfns"
      tell(unit, id, BODY_LENGTH, { length = length, expected = said })
    elseif list.whole and not list.numbers.type then
      local expected = 8 + 8 * list.count + CONST.PAGE_SIZE * list.pages
      if expected ~= length then
        local said = text_of(expected) .. " for " .. text_of(list.count) .. " pfns with " .. text_of(list.pages)
        tell(unit, id, BODY_LENGTH, { length = length, expected = said .. " pages of contents" })
      end
    end
  end)

  test("libxc.page_data.type", PAGE_DATA, function(unit, _, id, _, _, list)
    tell_entry(unit, id, list, "type", { found = list and list.firsts.type and list.firsts.type.word })
  end)

  test("libxc.page_data.reserved", PAGE_DATA, function(unit, _, id, _, _, list)
    local word = number(unit, "reserved")
    if word and word > 0 then
      tell(unit, id, in_body(unit, 4), { problem = "reserved word " .. hex(word) })
      return
    end
    local first = list and list.firsts.reserved
    if first then
      local low, high = codec.halves(unit.body, 9 + 8 * first.index, unit.order)
      local said = string.format("reserved bits of entry %.0f (0x%08x%08x)", first.index, high, low)
      tell(unit, id, entry_at(unit, first.index), { problem = said })
    end
  end)

  test("libxc.page_data.order", PAGE_DATA, function(unit, _, id, _, _, list)
    tell_entry(unit, id, list, "order")
  end)

  test("libxc.page_data.pfn", PAGE_DATA, function(unit, session, id, _, _, list)
    tell_entry(unit, id, list, "pfn", { maximum = session.max_pfn })
  end)

  test("libxc.page_data.hvm_type", PAGE_DATA, function(unit, _, id, _, _, list)
    local first = list and list.firsts.hvm_type
    tell_entry(unit, id, list, "hvm_type", { name = first and CONST.PAGE_TYPE[first.word] })
  end)

  test("libxc.page_data.xalloc", PAGE_DATA, function(unit, session, id, _, _, list)
    if original(session) then
      tell_entry(unit, id, list, "xalloc")
    end
  end)

  -- Whether a PAGE_DATA that begins with pfn `first` begins another pass.
  local function begins_pass(session, first)
    local last = session.last_batch
    return last ~= nil and (last[1] < FULL_BATCH or first <= last[2])
  end

  test("libxc.page_data.first_pass", PAGE_DATA, function(unit, session, id, _, _, list)
    local certain = original(session) and session.halves.forward.whole and session.certain
    if not session.first_pass or session.told or not certain or not list or not list.whole or list.there == 0 then
      return
    elseif begins_pass(session, list.first) then
      return
    end
    local expected = session.expected
    if not list.firsts.order and list.first <= expected and list.last == list.first + list.there - 1 then
      return -- without gaps
    end
    for index = 0, list.there - 1 do
      local low, high = codec.halves(unit.body, 9 + 8 * index, unit.order)
      local pfn = high % 1048576 * TERA + low
      if pfn > expected then
        session.told = true
        tell(unit, id, entry_at(unit, index), { before = math.max(0, expected - 1), pfn = pfn })
        return
      end
      expected = pfn + 1
    end
  end)

  -- PV guests, and the end of a checkpoint ---------------------------------------------------------------------------

  local VCPU = {
    "libxc.X86_PV_VCPU_BASIC",
    "libxc.X86_PV_VCPU_EXTENDED",
    "libxc.X86_PV_VCPU_XSAVE",
    "libxc.X86_PV_VCPU_MSRS",
  }
  local CLOSING = { "libxc.END", "libxc.CHECKPOINT" }
  local BASIC = { [4] = 2800, [8] = 5168 } -- width of the guest -> bytes of vcpu_guest_context

  local PV_INFO_ORDER = { "libxc.X86_PV_INFO", "libxc.X86_PV_P2M_FRAMES", "libxc.SHARED_INFO" }
  test("libxc.x86_pv_info.order", PV_INFO_ORDER, function(unit, session, id)
    local half = session.halves.forward
    local known = seen(half, "libxc.X86_PV_INFO") > 0
    if unit.name == "X86_PV_INFO" then
      if known then
        tell(unit, id, 0, { problem = "a second X86_PV_INFO" })
      end
    elseif half.whole and not known and seen(half, unit.record.key) == 0 then
      tell(unit, id, 0, { problem = unit.name .. " without X86_PV_INFO" })
    end
  end)

  test("libxc.x86_pv_info.value", { "libxc.X86_PV_INFO" }, function(unit, _, id)
    if unit.body_length < 8 then
      tell(unit, id, BODY_LENGTH, { problem = "body_length " .. text_of(unit.body_length) })
      return
    end
    local width, levels = number(unit, "guest_width"), number(unit, "pt_levels")
    if width and levels and not (width == 4 and levels == 3) and not (width == 8 and levels == 4) then
      local said = "guest_width " .. text_of(width) .. " and pt_levels " .. text_of(levels)
      tell(unit, id, in_body(unit, 0), { problem = said })
    end
  end)

  test("libxc.x86_pv_info.reserved", { "libxc.X86_PV_INFO" }, function(unit, _, id)
    local found = sub(unit.body, 3, 8)
    local used = found:find("[^\0]")
    if used then
      local shown = found:gsub(".", function(char)
        return string.format("%02x", byte(char))
      end)
      tell(unit, id, in_body(unit, 1 + used), { found = shown })
    end
  end)

  test("libxc.x86_pv_p2m_frames.range", { "libxc.X86_PV_P2M_FRAMES" }, function(unit, session, id)
    local length = unit.body_length
    if length < 8 then
      local said = "body_length " .. text_of(length) .. ", expected at least 8"
      tell(unit, id, BODY_LENGTH, { problem = said })
      return
    end
    local first, last = number(unit, "p2m_start_pfn"), number(unit, "p2m_end_pfn")
    if not first or not last then
      return
    elseif first > last then
      local said = "p2m_start_pfn " .. hex(first) .. " is greater than p2m_end_pfn " .. hex(last)
      tell(unit, id, in_body(unit, 0), { problem = said })
    elseif session.width then
      local per_frame = floor(CONST.PAGE_SIZE / session.width)
      local frames = floor(last / per_frame) + 1 - floor(first / per_frame)
      if length ~= 8 + 8 * frames then
        local said = "body_length " .. text_of(length) .. ", expected " .. text_of(8 + 8 * frames) .. " for "
        said = said .. text_of(frames) .. " frames of pfns " .. hex(first) .. " to " .. hex(last)
        tell(unit, id, BODY_LENGTH, { problem = said })
      end
    end
  end)

  test("libxc.x86_pv_p2m_frames.order", PAGE_DATA, function(unit, session, id)
    local half = session.halves.forward
    local late = seen(half, "libxc.X86_PV_P2M_FRAMES") == 0 and seen(half, "libxc.PAGE_DATA") == 0
    if session.guest == "PV" and half.whole and late then
      tell(unit, id, 0)
    end
  end)

  -- Which length was expected of a vcpu record; nil for a good one.
  local function vcpu_expected(unit, blob, session)
    if blob < 0 then
      return "at least 8"
    elseif unit.name == "X86_PV_VCPU_BASIC" then
      local wanted = BASIC[session.width]
      if wanted then
        return blob ~= wanted and text_of(8 + wanted) or nil
      end
      return blob ~= BASIC[4] and blob ~= BASIC[8] and text_of(8 + BASIC[4]) .. " or " .. text_of(8 + BASIC[8]) or nil
    elseif unit.name == "X86_PV_VCPU_EXTENDED" then
      return blob > 128 and "at most 136" or nil
    elseif unit.name == "X86_PV_VCPU_XSAVE" then
      return blob < 16 and "at least 24" or nil
    end
    return blob % 16 > 0 and "8 + 16n" or nil
  end

  test("libxc.vcpu.length", VCPU, function(unit, session, id)
    if unit.body_length == 8 or is_state(unit, session) then
      return
    end
    local expected = vcpu_expected(unit, unit.body_length - 8, session)
    if expected then
      wrong_length(unit, id, { expected = expected })
    end
  end)

  test("libxc.vcpu.empty", VCPU, function(unit, session, id)
    if unit.body_length == 8 and not is_state(unit, session) then
      wrong_length(unit, id)
    end
  end)

  test("libxc.vcpu.basic_missing", CLOSING, function(unit, session, id)
    if session.guest == "PV" and session.halves.forward.whole and not session.vcpu0 then
      tell(unit, id, 0, { where = unit.name })
    end
  end)

  test("libxc.x86_pv_vcpu_extended.inner", { "libxc.X86_PV_VCPU_EXTENDED" }, function(unit, session, id)
    if is_state(unit, session) or not original(session) then
      return
    end
    local vcpu, inner, size = number(unit, "vcpu_id"), number(unit, "vcpu"), number(unit, "size")
    local blob = unit.body_length - 8
    if inner and inner ~= vcpu then
      local said = "inner vcpu " .. text_of(inner) .. ", expected vcpu_id " .. text_of(vcpu)
      tell(unit, id, in_body(unit, 8), { problem = said })
    elseif size and size ~= blob then
      local said = "inner size " .. text_of(size) .. ", expected " .. text_of(blob) .. ", the bytes that are there"
      tell(unit, id, in_body(unit, 12), { problem = said })
    end
  end)

  -- Behind the last checkpoint of a 4.6 session END comes alone.
  local function comes_alone(unit, half)
    local checkpointed = seen(half, "libxc.CHECKPOINT") > 0 or seen(half, "libxl.CHECKPOINT_END") > 0
    return unit.name == "END" and checkpointed and half.staged == 0
  end

  test("libxc.x86_tsc_info.count", CLOSING, function(unit, session, id)
    local half = session.halves.forward
    local found = half.stage["libxc.X86_TSC_INFO"] or 0
    if half.stage_whole and found ~= 1 and not comes_alone(unit, half) then
      tell(unit, id, 0, { count = found > 0 and found or "no", where = unit.name })
    end
  end)

  -- HVM guests -------------------------------------------------------------------------------------------------------

  test("libxc.hvm_params.length", { "libxc.HVM_PARAMS" }, function(unit, _, id)
    local length, count = unit.body_length, number(unit, "count")
    if length < 8 then
      tell(unit, id, BODY_LENGTH, { length = length, expected = "at least 8" })
    elseif count and length ~= 8 + 16 * count then
      local said = text_of(8 + 16 * count) .. " for " .. text_of(count) .. " parameters"
      tell(unit, id, BODY_LENGTH, { length = length, expected = said })
    end
  end)

  test("libxc.hvm_params.index", { "libxc.HVM_PARAMS" }, function(unit, _, id)
    local body = unit.body
    local count = math.min(number(unit, "count") or 0, floor((#body - 8) / 16))
    for at = 8, 8 + 16 * (count - 1), 16 do
      local index = codec.uint(body, at + 1, 8, unit.order)
      if not CONST.HVM_PARAMS_SENT[index] then
        local name = CONST.HVM_PARAM[index]
        local said = decimal64(body, at + 1, unit.order)
        tell(unit, id, in_body(unit, at), { index = said, name = name and " (" .. name .. ")" or "" })
        return
      end
    end
  end)

  test("libxc.hvm_context.missing", CLOSING, function(unit, session, id)
    local half = session.halves.forward
    local there = half.stage["libxc.HVM_CONTEXT"]
    if session.guest == "HVM" and half.stage_whole and not there and not comes_alone(unit, half) then
      tell(unit, id, 0, { where = unit.name })
    end
  end)

  -- Goes along the chain in an HVM_CONTEXT, up to and with END: {at=, code=, length=, stop=} each time.
  local function sections(body)
    local at = 0
    return function()
      if not at or at + 8 > #body then
        return nil
      end
      local code, length = codec.uint(body, at + 1, 2, "little"), codec.uint(body, at + 5, 4, "little")
      local section = { at = at, code = code, length = length, stop = at + 8 + length }
      at = code ~= 0 and section.stop or nil
      return section
    end
  end

  local MAGIC = "\134\18\56\84"

  local function section_problem(section, body)
    if section.at == 0 then
      local magic = sub(body, 9, 12)
      if section.code ~= 1 then
        return "the first section has type " .. text_of(section.code) .. ", expected 1 (HEADER)"
      elseif section.length ~= 24 then
        return "HEADER of " .. text_of(section.length) .. " bytes, expected 24"
      elseif magic ~= sub(MAGIC, 1, #magic) then
        return "magic " .. spaced(magic) .. ", expected " .. spaced(MAGIC)
      end
    elseif section.code == 0 and section.length > 0 then
      return "END has " .. text_of(section.length) .. " bytes, expected none"
    end
    return nil
  end

  local HVM_CONTEXT = { "libxc.HVM_CONTEXT" }

  test("libxc.hvm_context.chain", HVM_CONTEXT, function(unit, _, id, _, one)
    local body = unit.body
    local complete, last = whole(unit, one), nil
    for section in sections(body) do
      last = section
      local problem = section_problem(section, body)
      if not problem and section.stop > #body and complete then
        problem = "section type " .. text_of(section.code) .. " of " .. text_of(section.length)
        problem = problem .. " bytes goes beyond the end"
      end
      if problem then
        tell(unit, id, in_body(unit, section.at), { problem = problem })
        return
      end
    end
    if not complete or body == "" then
      return
    elseif not last or last.code ~= 0 then
      tell(unit, id, in_body(unit, last and last.at or 0), { problem = "the chain does not end with END" })
    elseif last.stop < #body then
      tell(unit, id, in_body(unit, last.stop), { problem = text_of(#body - last.stop) .. " bytes behind END" })
    end
  end)

  test("libxc.hvm_context.section", HVM_CONTEXT, function(unit, _, id)
    for section in sections(unit.body) do
      local known, lengths = CONST.SECTION_LENGTHS[section.code], CONST.OPEN_SECTIONS[section.code]
      local problem
      if section.code == 1 or section.stop > #unit.body then
        problem = nil -- the matter of the rule above
      elseif section.code > CONST.LAST_SECTION then
        problem = "the last type is " .. text_of(CONST.LAST_SECTION)
      elseif known and not among(known, section.length) then
        problem = "expected " .. table.concat(known, " or ")
      elseif lengths and section.length < lengths.minimum then
        problem = "expected " .. lengths.said
      elseif lengths and (section.length - lengths.minimum) % lengths.step > 0 then
        problem = "expected " .. lengths.said
      end
      if problem then
        local name = CONST.HVM_SAVE_TYPE[section.code] or text_of(section.code)
        tell(unit, id, in_body(unit, section.at), { name = name, length = section.length, problem = problem })
        return
      end
    end
  end)

  -- Checkpoints, and both directions ---------------------------------------------------------------------------------

  test("libxl.checkpoint_state.place", { "libxl.CHECKPOINT_STATE" }, function(unit, session, id, role)
    local half = session.halves.forward
    local last = half.last
    if role == "forward" and half.adjoins and last and last.key ~= "libxl.CHECKPOINT_END" then
      tell(unit, id, 0, { before = last.layer .. " " .. last.name })
    end
  end)

  -- The control id that comes next in the back channel, LIST for a list; nil if that is not known.
  local function expected_step(session)
    local half = session.halves.reverse
    local last = half.last
    if not last then
      return half.whole and READY or nil
    elseif not half.adjoins then
      return nil
    elseif last.key == "xl.BANNER" then
      return READY
    elseif last.key == "libxc.CHECKPOINT_DIRTY_PFN_LIST" then
      return MACHINE.BACK_CHANNEL_ORDER[LIST]
    end
    return last.step and MACHINE.BACK_CHANNEL_ORDER[last.step]
  end

  local CONTROL_ID = place(RECORDS["libxl.CHECKPOINT_STATE"], "control_id").element.names.values

  local function state_text(control)
    local name = CONTROL_ID[control]
    return name and text_of(control) .. " (" .. name .. ")" or text_of(control)
  end

  local function no_new(unit, session, id)
    local half, state = session.halves.forward, "libxl.CHECKPOINT_STATE"
    local colo = seen(half, state) > 0 or seen(session.halves.reverse, state) > 0
    if colo and half.whole and half.last and half.last.key == "libxl.CHECKPOINT_END" then
      tell(unit, id, 0, { found = "missing before " .. unit.name, expected = state_text(NEW) })
    end
  end

  local STEPS = { "libxl.CHECKPOINT_STATE", "libxc.PAGE_DATA", "libxc.X86_TSC_INFO" }

  test("libxl.checkpoint_state.control_id", STEPS, function(unit, session, id, role)
    if unit.name ~= "CHECKPOINT_STATE" then
      return no_new(unit, session, id)
    end
    local found = number(unit, "control_id")
    if not found then
      return
    elseif role == "forward" then
      if found ~= NEW then
        tell(unit, id, in_body(unit, 0), { found = state_text(found), expected = "0 (NEW) from the primary" })
      end
      return
    end
    local expected = expected_step(session)
    if found == NEW or found > 3 then
      tell(unit, id, in_body(unit, 0), { found = state_text(found), expected = "1 to 3 from the secondary" })
    elseif expected and found ~= expected and expected ~= LIST then
      tell(unit, id, in_body(unit, 0), { found = state_text(found), expected = state_text(expected) })
    end
  end)

  test("libxl.emulator_context.count", { "libxl.CHECKPOINT_END", "libxl.END" }, function(unit, session, id)
    local half, xen = session.halves.forward, session.xen
    local found = half.stage["libxl.EMULATOR_CONTEXT"] or 0
    local may_lack = xen and xen[1] == 4 and xen[2] >= 7 and xen[2] <= 9
    local wanted = (session.kind == "hvm" and not may_lack) or seen(half, "libxl.EMULATOR_CONTEXT") > 0
    local finished = unit.name == "END" and seen(half, "libxl.CHECKPOINT_END") > 0 and not half.stage["libxc.END"]
    local judged = half.stage_whole and session.guest == "HVM" and original(session) and not finished
    if judged and (found > 1 or (wanted and found == 0)) then
      tell(unit, id, 0, { count = found > 0 and found or "no", where = unit.name })
    end
  end)

  test("libxc.verify.place", { "libxc.VERIFY", "libxc.CHECKPOINT" }, function(unit, session, id)
    local half = session.halves.forward
    local verified, checkpoints = seen(half, "libxc.VERIFY"), seen(half, "libxc.CHECKPOINT")
    local problem
    if unit.name == "CHECKPOINT" then
      problem = verified > 0 and checkpoints == 0 and "CHECKPOINT behind VERIFY, which only plain migrations have"
    elseif checkpoints > 0 then
      problem = "VERIFY behind a CHECKPOINT"
    elseif verified > 0 then
      problem = "a second VERIFY"
    end
    if problem then
      tell(unit, id, 0, { problem = problem })
    end
  end)

  local READY_TEXT = RECORDS["xl.READY"].body[1].const:gsub("\0+$", "")
  test("libxc.checkpoint.plain", { "libxc.CHECKPOINT", "xl.READY" }, function(unit, session, id)
    if unit.name == "CHECKPOINT" then
      if seen(session.halves.reverse, "xl.READY") > 0 then
        tell(unit, id, 0, { found = READY_TEXT })
      end
    elseif session.checkpoint then
      tell(session.checkpoint, id, 0, { found = READY_TEXT })
    end
  end)

  test("libxc.end.after_checkpoint", { "libxc.END" }, function(unit, session, id)
    local xen = session.xen
    local is_other = xen and not (xen[1] == 4 and xen[2] == 6)
    if seen(session.halves.forward, "libxc.CHECKPOINT") > 0 and is_other then
      tell(unit, id, 0)
    end
  end)

  local DIRTY_LIST = { "libxc.CHECKPOINT_DIRTY_PFN_LIST" }

  test("libxc.checkpoint_dirty_pfn_list.pfn", DIRTY_LIST, function(unit, session, id, role)
    if role ~= "reverse" or not session.halves.forward.whole or not session.certain or session.highest < 0 then
      return
    end
    local size, first, number_wrong = session.highest + 1, nil, 0
    for at = 1, #unit.body - 7, 8 do
      if codec.uint(unit.body, at, 8, unit.order) >= size then
        first = first or at
        number_wrong = number_wrong + 1
      end
    end
    if first then
      local pfn = hex64(unit.body, first, unit.order)
      tell(unit, id, in_body(unit, first - 1), { pfn = pfn, size = size, more = more_text(number_wrong, "") })
    end
  end)

  test("libxc.checkpoint_dirty_pfn_list.order", DIRTY_LIST, function(unit, _, id, role)
    local body, order = unit.body, unit.order
    local last_low, last_high = -1, -1
    for at = 1, role == "reverse" and #body - 7 or 0, 8 do
      local low, high = codec.halves(body, at, order)
      if high < last_high or (high == last_high and low <= last_low) then
        local facts = { pfn = hex64(body, at, order), before = hex64(body, at - 8, order) }
        tell(unit, id, in_body(unit, at - 1), facts)
        return
      end
      last_low, last_high = low, high
    end
  end)

  local LIST_PLACE = { "libxc.CHECKPOINT_DIRTY_PFN_LIST", "libxl.CHECKPOINT_STATE" }

  local function step_name(name, step)
    return step == nil and name or CONTROL_ID[step] or "control_id " .. text_of(step)
  end

  test("libxc.checkpoint_dirty_pfn_list.place", LIST_PLACE, function(unit, session, id, role)
    local expected = role == "reverse" and expected_step(session)
    if not expected then
      return
    elseif unit.name == "CHECKPOINT_DIRTY_PFN_LIST" then
      if expected ~= LIST then
        local last = session.halves.reverse.last
        local where = last and "behind " .. step_name(last.name, last.step) or "at the beginning"
        tell(unit, id, 0, { problem = "CHECKPOINT_DIRTY_PFN_LIST " .. where })
      end
    elseif expected == LIST then
      local said = step_name(unit.name, number(unit, "control_id"))
      tell(unit, id, 0, { problem = said .. " in place of the list" })
    end
  end)

  test("colo.guest_type", { "libxl.CHECKPOINT_STATE" }, function(unit, session, id)
    local key, halves = "libxl.CHECKPOINT_STATE", session.halves
    if seen(halves.forward, key) > 0 or seen(halves.reverse, key) > 0 then
      return
    elseif session.guest == "PV" or session.kind == "pv" or session.kind == "pvh" then
      tell(unit, id, 0, { guest = session.kind == "pvh" and "PVH" or "PV" })
    end
  end)

  ---------------------------------------------------------------------------------------------------------------------
  -- What a unit teaches about those behind it

  local learn = {}

  learn["xl.SAVE_FILE_HEADER"] = function(session, unit)
    session.flags = number(unit, "mandatory_flags")
  end

  local KINDS = { pv = true, hvm = true, pvh = true }
  learn["xl.CONFIG"] = function(session, unit, _, one)
    local text = config_text(unit)
    if #text > CONST.LONGEST_JSON or not whole(unit, one) then
      return
    end
    local found = configuration(text)
    local about = found and found.c_info
    local kind = type(about) == "table" and about.type
    session.kind = KINDS[kind] and kind or ""
  end

  learn["xl.REPORT_STATUS"] = function(session, unit)
    session.status = number(unit, "status")
  end

  learn["libxl.STREAM_HEADER"] = function(session, unit)
    session.options = number(unit, "options")
    session.converted = session.options ~= nil and floor(session.options / 2) % 2 == 1
  end

  learn["libxl.CHECKPOINT_END"] = function(session)
    session.inside = false
  end

  learn["libxc.IMAGE_HEADER"] = function(session, unit)
    session.version = number(unit, "version")
  end

  local GUESTS = { [1] = "PV", [2] = "HVM" }
  learn["libxc.DOMAIN_HEADER"] = function(session, unit)
    session.guest = GUESTS[number(unit, "type")] or ""
    local major, minor = number(unit, "xen_major"), number(unit, "xen_minor")
    if major and minor then
      session.xen = { major, minor }
      session.converted = session.converted or major == 0
    end
  end

  learn["libxc.X86_PV_INFO"] = function(session, unit)
    local width = number(unit, "guest_width")
    session.width = BASIC[width] and width or nil
  end

  learn["libxc.X86_PV_P2M_FRAMES"] = function(session, unit)
    session.max_pfn = number(unit, "p2m_end_pfn")
  end

  learn["libxc.X86_PV_VCPU_BASIC"] = function(session, unit)
    if number(unit, "vcpu_id") == 0 and unit.body_length ~= 8 then
      session.vcpu0 = true
    end
  end

  learn["libxc.PAGE_DATA"] = function(session, _, list)
    if not list or not list.whole then
      session.certain = false
    elseif list.there > 0 then
      if begins_pass(session, list.first) then
        session.first_pass = false
      end
      session.last_batch = { list.count, list.last }
      session.expected = list.last + 1
      session.highest = math.max(session.highest, list.highest)
    end
  end

  learn["libxc.CHECKPOINT"] = function(session, unit)
    session.inside = true
    session.checkpoint = session.checkpoint or unit
  end

  learn["libxc.END"] = function(session)
    session.inside = false
  end

  local function take(half, unit)
    local key = unit.record.key
    local is_state_record = key == "libxl.CHECKPOINT_STATE"
    half.last = {
      key = key,
      layer = unit.record.layer, -- also keeps it from being copied: it never changes
      name = unit.name,
      step = is_state_record and number(unit, "control_id") or nil,
    }
    half.behind = unit.offset + unit.size
    half.count[key] = seen(half, key) + 1
    if key == "libxl.CHECKPOINT_END" then
      half.stage, half.staged, half.stage_whole = {}, 0, true
    else
      half.stage[key] = (half.stage[key] or 0) + 1
      half.staged = half.staged + 1
    end
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- A unit

  local conditions = {}
  for _, one in ipairs(CONDITIONS) do
    for _, key in ipairs(one.on) do
      conditions[key] = conditions[key] or {}
      table.insert(conditions[key], one)
    end
  end

  -- Every rule that is judged here, in any order: conditions first.
  function check.rules()
    local found = {}
    for _, one in ipairs(CONDITIONS) do
      found[#found + 1] = one.id
    end
    for _, id in ipairs(ORDER) do
      found[#found + 1] = id
    end
    return found
  end

  -- Judge a unit of a follower, all of whose wanted bytes are there; to be called once, in stream order.
  function check.unit(one, unit)
    local session, role, key = one.flow.checked, one.role, unit.record.key
    if not role then
      return
    end
    local half = session.halves[role]
    meet(half, unit, one.begun)
    if role == "forward" and not half.adjoins and not half.whole then
      session.inside, session.certain = "unknown", false
    end
    local list = key == "libxc.PAGE_DATA" and scan(unit, session) or nil
    for _, condition in ipairs(conditions[key] or {}) do
      judge(condition, unit, session, role)
    end
    for _, rule in ipairs(TESTS[key] or {}) do
      rule.judges(unit, session, rule.id, role, one, list)
    end
    if learn[key] then
      learn[key](session, unit, list, one)
    end
    take(half, unit)
  end
end
