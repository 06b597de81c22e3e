-- SPDX-License-Identifier: GPL-2.0-or-later
-- Finding record heads again after framing was lost, or in a capture that starts in the middle.
-- Mirrors dissector/wire/resync.py of xendissect.
--
-- Every place whose first 16 bytes could be a record head starts a candidate: a strict framer that follows the chain of
-- records from there. A candidate dies at the first head or body that no Xen toolstack writes. It is proven when
--   * its records carry enough evidence (bytes fixed by the definitions and not zero; ascending pfns), and
--   * at least two heads fit together, and
--   * it reaches so far that it can not lie in the page contents of the very record whose head was lost: guest memory
--     may hold an old migration stream, complete with valid heads.
-- Where the stream ends before that, the candidate with the most evidence is taken.

local resync = {
  GREETING_MAX = 2048, -- bytes of text in front of a banner
}

do
  local WINDOW = 16 -- bytes that a head is recognised by: record header and the first 8 bytes of body
  local ENOUGH = 6 -- evidence that makes a chain believable, see codec.evidence
  local ENOUGH_ALONE = 8 -- the same for a single record at the end of the stream
  local ENOUGH_REVERSE = 3
  local ENOUGH_TEXT = 60 -- evidence that only two whole texts of xl in a row have
  local REVERSE_HEADS = 4 -- heads of a believable back channel in a direction that could as well be guest memory
  local LONG_CHAIN = 16384 -- records after which a chain is taken or dropped, however few bytes they cover

  -- Texts that say at once what begins here.
  local TEXTS = {
    { text = CONST.XL_MAGIC:sub(1, 20), state = "XL_HEADER" },
    { text = CONST.LIBXL_IDENT .. "\0\0\0\2", state = "LIBXL_HEADER" },
    { text = ("\255"):rep(8) .. "XENF\0\0\0", state = "IMAGE_HEADER" },
    { text = "xl migration receiver", state = "BANNER" },
    { text = "domain received, ready", state = "READY" },
    { text = "my copy unpause results", state = "REPORT" },
  }

  -- An END record (eight zero bytes, which are everywhere) must be followed by one of these to count as one: xl GO, or
  -- an EMULATOR_CONTEXT with the first bytes of QEMU's state in it.
  local GO = "domain is yours, you"
  local QEVM = "QEVM\0\0\0\3"

  local EMULATOR_CONTEXT = RECORDS["libxl.EMULATOR_CONTEXT"]
  local CHECKPOINT_END = RECORDS["libxl.CHECKPOINT_END"]
  local CHECKPOINT_STATE = RECORDS["libxl.CHECKPOINT_STATE"]

  local ZEROS = ("\0"):rep(8)

  local function role_of(state)
    return MACHINE.REVERSE[state] and "reverse" or "forward"
  end

  -- Whether the `count` bytes from `at` (from 0; fewer at the end of the text) are zero.
  local function zero_at(text, at, count)
    return not text:sub(at + 1, at + count):find("[^\0]")
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- What a head looks like

  -- A pattern is a list of tests { at, least, most } of single bytes (`at` counts from the head, from 0), and perhaps a
  -- list of exact lengths.

  local function add_text(tests, at, text)
    for index = 1, #text do
      tests[#tests + 1] = { at = at + index - 1, least = text:byte(index), most = text:byte(index) }
    end
  end

  -- Integers up to about `maximum`: the leading bytes are tested, any value may stand in those below.
  local function add_number(tests, at, size, maximum, order)
    local used, top = 1, maximum
    while top > 255 do
      used, top = used + 1, math.floor(top / 256)
    end
    for digit = used, size do -- from the leading byte up; those above it are zero
      local most = digit == used and top or 0
      local place = order == "little" and at + digit - 1 or at + size - digit
      tests[#tests + 1] = { at = place, least = 0, most = most }
    end
  end

  local function add_field(tests, at, field, order)
    order = field.order or order
    if field.const then
      add_text(tests, at, order == "little" and field.const:reverse() or field.const)
    elseif field.reserved then
      add_text(tests, at, ("\0"):rep(field.size))
    elseif field.maximum then
      add_number(tests, at, field.size, field.maximum, order)
    end
  end

  local function exact_lengths(length)
    local lengths = {}
    for _, list in ipairs({ length.exact, length.tolerated }) do
      for _, count in ipairs(list) do
        lengths[count] = true
      end
    end
    return lengths
  end

  local function number_text(value, order)
    local text = string.char(value % 256, math.floor(value / 256) % 256, math.floor(value / 65536) % 256,
      math.floor(value / 16777216))
    return order == "little" and text or text:reverse()
  end

  -- What the first 16 bytes of a record look like: header and the start of the body.
  function resync.head_pattern(record, order)
    local tests, lengths = {}, nil
    add_text(tests, 0, number_text(record.type_id, order))
    if #record.length.exact > 0 then
      lengths = exact_lengths(record.length)
    else
      add_number(tests, 4, 4, record.length.maximum or CONST.REC_LENGTH_MAX, order)
    end
    local at = 8
    for _, element in ipairs(record.body) do
      if element.kind ~= "field" or at + element.size > WINDOW then
        break
      end
      add_field(tests, at, element, order)
      at = at + element.size
    end
    if record.signature and record.signature.at == 0 then
      local text = record.signature.text:sub(1, WINDOW - at)
      add_text(tests, at, text)
      at = at + #text
    end
    return { tests = tests, lengths = lengths, size = at, order = order }
  end

  -- Whether the bytes at `place` (from 0) look like that.
  function resync.looks_like(pattern, scan, place)
    if place + pattern.size > #scan then
      return false
    end
    for _, test in ipairs(pattern.tests) do
      local value = scan:byte(place + test.at + 1)
      if value < test.least or value > test.most then
        return false
      end
    end
    return not pattern.lengths or pattern.lengths[codec.uint(scan, place + 5, 4, pattern.order)] == true
  end

  -- Made once: byte order -> pattern of the EMULATOR_CONTEXT that shows where an END is.
  local emulator_patterns = {
    little = resync.head_pattern(EMULATOR_CONTEXT, "little"),
    big = resync.head_pattern(EMULATOR_CONTEXT, "big"),
  }

  local function may_begin_a_chain(record, role)
    if not record.type_id or record.name == "END" or record.name == "TOOLSTACK" then
      return false
    end
    return role == nil or record.direction == role or record.direction == "both"
  end

  local heads_by_role = {}

  -- By the low byte of the type number: the records, with their patterns, that may begin a chain in this direction.
  local function heads_of(role, order)
    local name = (role or "any") .. order
    if not heads_by_role[name] then
      local heads = {}
      for _, record in ipairs(ALL_RECORDS) do
        if may_begin_a_chain(record, role) then
          local low = record.type_id % 256
          heads[low] = heads[low] or {}
          table.insert(heads[low], { record = record, pattern = resync.head_pattern(record, order) })
        end
      end
      heads_by_role[name] = heads
    end
    return heads_by_role[name]
  end

  -- The cheapest test: the other three bytes of every type number are zero. Iterates over the places of `scan` from
  -- `at` up to `stop` (from 0) where three zeros stand beside the low byte of a type number in `heads`, and gives what
  -- `heads` has for that byte. Runs of zeros are passed as a whole: guest memory is full of them.
  local function number_places(scan, at, stop, heads, order)
    local from = at + 1
    return function()
      while true do
        local first = scan:find("\0\0\0", from, true)
        if not first or first > stop then
          return nil
        end
        from = scan:match("^\0*()", first)
        local low_at = order == "little" and first - 1 or from -- the byte beside the zeros, from 1
        local place = order == "little" and low_at - 1 or low_at - 4
        local rows = heads[scan:byte(low_at) or -1]
        if rows and place >= at and place + 4 <= stop then
          return place, rows
        end
      end
    end
  end

  -- Whether an empty record at `place` is rather one of a row of small numbers in guest memory: the type number of an
  -- empty record followed by zeros is a small u64. What comes before the real one: the same again never; before
  -- CHECKPOINT_END a device model's state or a CHECKPOINT, before the others anything.
  local function looks_like_numbers(record, scan, place)
    if place < 8 then
      return false
    end
    local before = scan:sub(place - 7, place)
    if before == scan:sub(place + 1, place + 8) then
      return true
    end
    local first = before:byte(1)
    return record == CHECKPOINT_END and before:sub(2) == ZEROS:sub(2) and first ~= 0 and first ~= 14
  end

  local function is_empty_record(record)
    return #record.length.exact == 1 and record.length.exact[1] == 0
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- The search

  local Search = {}
  Search.__index = Search

  -- Whether a connection begins with text.
  function resync.is_text(data)
    return not data:sub(1, 64):find("[^\7-\10\13\27\32-\126\128-\255]")
  end

  -- Looks for a believable chain of records in one direction, from stream offset `start` on, where framing was lost.
  -- options.role and options.alignment (stream offset modulo 8 of all record heads) are nil when not known.
  function resync.new(start, options)
    return setmetatable({
      start = start,
      position = start,
      searched = 0, -- bytes that came since; lost ones do not count
      greeting = false, -- a connection began with text: behind that of a login shell a banner may follow
      role = options.role,
      order = options.order or "little",
      alignment = options.alignment,
      candidates = {}, -- chains being tried: { framer, start, first = layer and type of its first record, role }
      crowded = false, -- a place was not tried because too many candidates were alive
      guest = "", -- "PV" or "HVM" when known: the other kind's records can only lie in guest memory
      pages_seen = false, -- a PAGE_DATA of this direction was reported already
      tail = "", -- last bytes, to see heads that are split
      scanned = start, -- places before this offset were looked at
    }, Search)
  end

  -- Go on at `position`; the bytes before it are lost.
  function Search:skip_to(position)
    self.position, self.scanned, self.tail = position, position, ""
  end

  -- Take the next bytes; return a proven candidate (it has taken them too) or nil.
  function Search:data(view, frame)
    self.searched = self.searched + view.length
    for _, candidate in ipairs(self.candidates) do
      candidate.framer:data(view, frame)
    end
    self:bury()
    local begin = self.position - #self.tail
    local scan = self.tail .. view:read(0, view.length)
    self.position = self.position + view.length
    self:scan(scan, begin, frame, false)
    self.tail = scan:sub(-(2 * WINDOW + 8))
    return self:proven()
  end

  -- Take lost bytes; return a candidate with enough evidence whose chain breaks here, or a proven one.
  function Search:gap(count, frame)
    self:scan(self.tail, self.position - #self.tail, frame, true)
    local best
    for _, candidate in ipairs(self.candidates) do
      local chain = candidate.framer
      chain:gap(count, frame)
      local broken = chain.failed and chain.heads > 1 and self:believable(candidate)
      if broken and (not best or chain.weight > best.framer.weight) then
        best = candidate
      end
    end
    self:bury()
    self:skip_to(self.position + count)
    if best and self:outweighs_all(best) then
      return best
    end
    return self:proven()
  end

  -- The stream ends: return the best candidate that is believable at all; of equals the one that begins first.
  function Search:end_of_stream(frame)
    self:scan(self.tail, self.position - #self.tail, frame, true)
    for _, candidate in ipairs(self.candidates) do
      candidate.framer:weigh_rest()
    end
    self:bury()
    local best
    for _, candidate in ipairs(self.candidates) do
      if self:believable(candidate) then
        local gain = best and candidate.framer.weight - best.framer.weight or 1
        if gain > 0 or (gain == 0 and candidate.start < best.start) then
          best = candidate
        end
      end
    end
    return best
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- Candidates

  function Search:outweighs_all(one)
    for _, living in ipairs(self.candidates) do
      if living.framer.weight >= one.framer.weight then
        return false
      end
    end
    return true
  end

  -- Rows of empty records in guest memory make chains that grow long without proving anything.
  local function is_idle(candidate)
    return #candidate.framer.units > LONG_CHAIN and candidate.framer.weight < ENOUGH
  end

  -- Drop dead candidates, and the weakest when all together hold too much.
  function Search:bury()
    local living, held = {}, 0
    for _, candidate in ipairs(self.candidates) do
      if not candidate.framer.failed and not is_idle(candidate) then
        living[#living + 1] = candidate
        held = held + candidate.framer:held_bytes()
      end
    end
    self.candidates = living
    while #living > 1 and held > LIMITS.max_flow_buffer do
      held = held - self:drop_weakest().framer:held_bytes()
    end
  end

  function Search:drop_weakest()
    local weakest = 1
    for index, candidate in ipairs(self.candidates) do
      if candidate.framer.weight < self.candidates[weakest].framer.weight then
        weakest = index
      end
    end
    self.crowded = true
    return table.remove(self.candidates, weakest)
  end

  -- Whether the evidence is enough. A direction known to be reverse has no page contents to mistake for records: one
  -- whole head is enough there. A back channel found where guest memory could be as well must be longer.
  function Search:believable(candidate)
    local chain = candidate.framer
    if candidate.role == "forward" then
      return chain.weight >= (chain.heads > 1 and ENOUGH or ENOUGH_ALONE)
    elseif self.role == nil then
      return chain.weight >= ENOUGH_TEXT or (chain.heads >= REVERSE_HEADS and chain.weight >= ENOUGH)
    end
    return chain.heads >= 1 and chain.weight >= ENOUGH_REVERSE
  end

  -- Whether a chain can not lie in the contents of the record whose head was lost.
  function Search:reaches_out(candidate)
    local chain = candidate.framer
    if candidate.role == "reverse" then
      return chain.heads > 1 or self.role ~= nil
    end
    return chain.heads > 1 and (chain.start - self.start >= CONST.LARGEST_PAGE_DATA
      or #chain.units > LONG_CHAIN or chain:held_bytes() > LIMITS.max_flow_buffer)
  end

  -- Of the candidates that are proven, the one that begins first.
  function Search:proven()
    local first
    for _, candidate in ipairs(self.candidates) do
      local proven = self:believable(candidate) and self:reaches_out(candidate)
      if proven and (not first or candidate.start < first.start) then
        first = candidate
      end
    end
    return first
  end

  -- Start a candidate at `place` of `scan`, unless a living one expects a head just there.
  function Search:try(found, scan, begin, frame)
    local place, state, record = found.place, found.state, found.record
    local offset = begin + place
    if record and not self:aligned(offset) then
      return
    end
    if self.pages_seen and (MACHINE.ONCE_STATES[state] or (record and record.once)) then
      return
    end
    if record == CHECKPOINT_STATE then -- NEW goes forward, the other steps come back
      state = zero_at(scan, place + 8, 4) and "CHECKPOINT_STATE" or "BACK_CHANNEL"
    end
    local role = role_of(state)
    if (self.role and self.role ~= role) or self:is_expected(offset, role) then
      return
    end
    if #self.candidates >= LIMITS.max_candidates then
      self:drop_weakest()
    end
    self:start_candidate(offset, state, record, scan, place, frame)
  end

  function Search:is_expected(offset, role)
    for _, living in ipairs(self.candidates) do
      if living.role == role and (offset == living.framer.start or living.framer.starts[offset]) then
        return true
      end
    end
    return false
  end

  function Search:start_candidate(offset, state, record, scan, place, frame)
    local chain = framer.new(state, offset, { order = self.order, strict = true })
    chain.guest = self.guest ~= "" and self.guest or nil
    local view = {
      length = #scan - place,
      read = function(_, at, count)
        return scan:sub(place + at + 1, place + at + count)
      end,
    }
    chain:data(view, frame)
    if not chain.failed then
      local name = record and record.layer .. " " .. record.name or state
      table.insert(self.candidates, { framer = chain, start = offset, first = name, role = role_of(state) })
    end
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- Where something may begin

  function Search:aligned(offset)
    return self.alignment == nil or (offset - self.alignment) % 8 == 0
  end

  -- Start candidates at the places of `scan` (stream offset `begin`) not looked at yet, from first to last. Of places
  -- near the end only those that have enough bytes behind them, unless these are the `last` ones.
  function Search:scan(scan, begin, frame, last)
    local limit = last and #scan + 8 or #scan - (WINDOW + 24)
    local at = math.max(0, self.scanned - begin)
    if limit <= at then
      return
    end
    self.scanned = begin + limit
    local places = {} -- { place, state, record the bytes look like, rank }
    local function add(place, state, record)
      places[#places + 1] = { place = place, state = state, record = record, rank = #places }
    end
    self:find_texts(scan, at, limit, add)
    self:find_heads(scan, begin, at, limit, last, add)
    table.sort(places, function(one, other)
      if one.place ~= other.place then
        return one.place < other.place
      end
      return one.rank < other.rank
    end)
    for _, found in ipairs(places) do
      self:try(found, scan, begin, frame)
    end
  end

  -- What looks like a record head.
  function Search:find_heads(scan, begin, at, limit, last, add)
    local stop = math.min(#scan, limit + 3)
    for place, rows in number_places(scan, at, stop, heads_of(self.role, self.order), self.order) do
      if self:aligned(begin + place) then
        for _, row in ipairs(rows) do
          if self:is_head(row, scan, place, last) then
            add(place, MACHINE.RESYNC_STATE[row.record.key], row.record)
          end
        end
      end
    end
  end

  function Search:is_head(row, scan, place, last)
    if is_empty_record(row.record) and looks_like_numbers(row.record, scan, place) then
      return false
    end
    return resync.looks_like(row.pattern, scan, place) or (last and self:is_short_head(row.record, scan, place))
  end

  -- Compare a head of which fewer than 16 bytes are there.
  function Search:is_short_head(record, scan, place)
    local rest = #scan - place
    if rest < 8 or rest >= WINDOW then
      return false
    end
    local type_id, length = codec.uint(scan, place + 1, 4, self.order), codec.uint(scan, place + 5, 4, self.order)
    return type_id == record.type_id and codec.allows(record.length, length)
  end

  -- Texts that say what begins, and END records by what follows them.
  function Search:find_texts(scan, at, limit, add)
    for _, row in ipairs(TEXTS) do
      if self.role == nil or self.role == role_of(row.state) then
        local first = scan:find(row.text, at + 1, true)
        while first and first <= limit do
          add(first - 1, row.state)
          first = scan:find(row.text, first + 1, true)
        end
      end
    end
    if self.role ~= "reverse" then
      self:find_go(scan, at, limit, add)
      self:find_emulator(scan, at, limit, add)
    end
  end

  -- GO, with the END records before it: that of libxl, and that of libxc of a PV guest, which has no device model.
  function Search:find_go(scan, at, limit, add)
    local go = (scan:find(GO, at + 1, true) or 0) - 1
    if go < 0 or go >= limit + 8 then
      return
    elseif self.guest == "PV" and go >= 16 and zero_at(scan, go - 16, 16) then
      add(go - 16, "LIBXC", RECORDS["libxc.END"])
    elseif go >= 8 and zero_at(scan, go - 8, 8) then
      add(go - 8, "LIBXL", RECORDS["libxl.END"])
    elseif self.role == "forward" then
      add(go, "GO")
    end
  end

  function Search:is_emulator(scan, place)
    return resync.looks_like(emulator_patterns[self.order], scan, place)
  end

  -- The END of libxc before an EMULATOR_CONTEXT.
  function Search:find_emulator(scan, at, limit, add)
    local first = scan:find(QEVM, at + 1, true)
    while first and first - 1 < limit + 24 do
      local place = first - 25
      if place >= at and zero_at(scan, place, 8) and self:is_emulator(scan, place + 8) then
        add(place, "LIBXC", RECORDS["libxc.END"])
      end
      first = scan:find(QEVM, first + 1, true)
    end
  end
end
