-- SPDX-License-Identifier: GPL-2.0-or-later
-- Framer: bytes and gaps of one direction become units (headers, messages, records), by the tables in MACHINE.
-- Mirrors dissector/wire/framer.py and unit.py of xendissect.
--
-- At any time a framer either wants bytes (it collects until it has `need` of them) or knows how many stream bytes
-- nobody needs before the next wanted one (`skip`): page contents, padding, what is beyond a limit. Skipped bytes are
-- counted, never looked at.
--
-- A unit: record (its definition), type_id, name, offset and size on the wire, body_length (as its header says), order,
-- first_frame, last_frame, body (what is kept of it), header_size, extra; cut_at where the stream ends inside it.

local framer = {}

do
  local methods = {}
  methods.__index = methods

  local HEADER_SIZE = 8
  -- More than any stream has: the rest of it is of no interest.
  local FOREVER = 9007199254740992
  -- A type number from here on (without the optional bit) is taken as a sign that framing is lost.
  local UNKNOWN_TYPES = 256
  -- libxl sets no limit; a larger body_length is taken as a sign that framing is lost.
  local LIBXL_LENGTH_MAX = 1073741824
  -- Longest configuration believed when only its own length field tells.
  local CONFIG_LEN_MAX = 1048576
  local CONFIG_LEN_SIZE = 4
  -- Records in a row that prove nothing, after which a strict framer takes them for guest memory.
  local LONGEST_WEAK_ROW = 16
  -- Longest body accepted in a record that should have none.
  local FOREIGN_EMPTY_MAX = 4096
  -- Collected pieces are joined when there are this many, so that tiny segments do not cost a table entry each.
  local MOST_PIECES = 4096

  local SAVE_FILE_HEADER = RECORDS["xl.SAVE_FILE_HEADER"]
  local CONFIG = RECORDS["xl.CONFIG"]
  local STREAM_HEADER = RECORDS["libxl.STREAM_HEADER"]
  local CHECKPOINT_STATE = RECORDS["libxl.CHECKPOINT_STATE"]
  local IMAGE_HEADER = RECORDS["libxc.IMAGE_HEADER"]
  local LIBXC_END = RECORDS["libxc.END"]
  local DIRTY_LIST = RECORDS["libxc.CHECKPOINT_DIRTY_PFN_LIST"]


  ---------------------------------------------------------------------------------------------------------------------
  -- Bytes, texts and definitions

  local text_view = {}
  text_view.__index = text_view

  function text_view:read(at, count)
    return self.text:sub(at + 1, at + count)
  end

  -- A view of a string: what the functions here take in place of a packet's bytes.
  function framer.text_view(text)
    return setmetatable({ text = text, length = #text }, text_view)
  end

  -- The text of a finding: `facts` replace the {names} in that of its rule.
  function framer.finding_text(id, facts)
    local text = RULES[id].text:gsub("{([%w_]+):?(#?x?)}", function(name, form)
      local value = facts[name]
      if form == "#x" then
        return string.format("0x%x", value)
      end
      return type(value) == "number" and string.format("%d", value) or value
    end)
    return text
  end

  -- A record body is padded to a multiple of 8 bytes.
  local function padded(length)
    return length + (8 - length % 8) % 8
  end

  local function unit_end(unit)
    return unit.offset + unit.size
  end

  local unknown = {}

  -- The definition that stands in for a type number without one.
  local function unknown_record(layer, type_id)
    local key = layer .. " " .. string.format("%d", type_id)
    if unknown[key] == nil then
      unknown[key] = {
        key = layer .. ".UNKNOWN",
        layer = layer,
        name = "UNKNOWN",
        title = layer .. " UNKNOWN",
        type_id = type_id,
        meaning = "record type that no Xen release defines",
        section = "4.3",
        direction = "forward",
        guests = "any",
        length = { minimum = 0, step = 1, exact = {}, tolerated = {} },
        body = { { kind = "bytes", name = "data", meaning = "opaque" } },
      }
    end
    return unknown[key]
  end

  local identifying = {}

  -- Everything in a fixed message that identifies it: an array of {at=, text=}.
  local function identifying_bytes(record)
    if identifying[record] then
      return identifying[record]
    end
    local found, at = {}, 0
    for _, element in ipairs(record.body) do
      local size = element.kind == "field" and element.size or element.length
      local telling = element.kind == "bytes" or element.hexadecimal
      if type(size) == "number" then
        if element.const and telling then
          found[#found + 1] = { at = at, text = element.const }
        end
        at = at + size
      end
    end
    identifying[record] = found
    return found
  end

  -- Whether bytes agree with the definition of a message as far as they go.
  local function identified(record, seen)
    for _, fixed in ipairs(identifying_bytes(record)) do
      local there = seen:sub(fixed.at + 1, fixed.at + #fixed.text)
      if there ~= fixed.text:sub(1, #there) then
        return false
      end
    end
    return true
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- Collecting

  -- Make a framer that begins in `state` at stream offset `position`. With options.strict, anything that a Xen
  -- toolstack would not write fails at once: used to try out places where a record might begin.
  function framer.new(state, position, options)
    options = options or {}
    local self = setmetatable({
      state = state,
      position = position, -- stream offset of the next byte
      order = options.order or "little",
      strict = options.strict or false,
      skip = 0,
      need = 0,
      have = 0, -- bytes in `pieces`
      pieces = {},
      start = position, -- where the unit begins that is being read
      start_frame = 0,
      unit = nil, -- the unit whose body is being read
      units = {}, -- what was framed and not taken away yet
      findings = {},
      failed = false, -- framing was lost at `start`; the bytes read since are wanted()
      mode = nil, -- what the tables say about the mode so far
      whole = true, -- nothing lay before the first byte, as far as is known
      entered = nil, -- the state that the first bytes of the stream led to
      guest = nil, -- "PV" or "HVM": a strict framer refuses records of the other kind
      heads = 0, -- a strict framer counts records,
      weight = 0, -- their evidence,
      starts = {}, -- where they begin,
      kept = 0, -- and the bytes of their bodies
      list_header = 0, -- header size of the dirty lists of this connection, 0 until known
      xl_order = "little",
      streamv2 = true,
      optional_data_len = nil, -- bytes of xl configuration
      held = nil, -- a dirty list whose end is not known yet
      marks = {}, -- number of bytes behind it -> the frame they came in
      weak = {}, -- names of records in this chain that prove little
      weak_row = 0,
      last = nil, -- definition of the record before
      back_step = nil, -- step of the back channel before
      counted = false, -- the length of the pfn list is known
      body_kept = 0,
      body_wanted = 0,
    }, methods)
    self:begin()
    return self
  end

  -- The wanted bytes that came so far.
  function methods:wanted()
    if #self.pieces > 1 then
      self.pieces = { table.concat(self.pieces) }
    end
    return self.pieces[1] or ""
  end

  function methods:forget()
    self.pieces, self.have = {}, 0
  end

  -- Joining only now and then keeps a body of many megabytes from being copied with every segment.
  function methods:collect(piece)
    if #self.pieces >= MOST_PIECES then
      self:wanted()
    end
    self.pieces[#self.pieces + 1] = piece
    self.have = self.have + #piece
  end

  -- Bytes that a strict framer holds in memory.
  function methods:held_bytes()
    return self.kept + self.have
  end

  -- Take the next bytes of the stream; return how many were used (all, unless `failed` became true).
  function methods:data(view, frame)
    local at, stop = 0, view.length
    while at < stop and not self.failed do
      local take
      if self.skip > 0 then
        take = math.min(self.skip, stop - at)
        self:advance(take, frame)
      else
        if self.have == 0 and self.unit == nil then
          self.start_frame = frame
        end
        take = math.min(self.need - self.have, stop - at)
        self:collect(view:read(at, take))
        self.position = self.position + take
        if self.have >= self.need then
          self:collected(frame)
        end
      end
      at = at + take
    end
    return at
  end

  -- Pass over `count` bytes, at most `skip`, whether they came or not.
  function methods:advance(count, frame)
    self.skip = self.skip - count
    self.position = self.position + count
    if count > 0 and self.skip == 0 and self.unit then
      self:complete(frame)
    end
  end

  -- Take `count` lost bytes; return how many were used (all, unless `failed` became true).
  function methods:gap(count, frame)
    local left = count
    while left > 0 and not self.failed do
      if self.skip > 0 then
        local take = math.min(self.skip, left)
        left = left - take
        self:advance(take, frame)
      elseif self.unit then
        self:keep_prefix(frame)
      elseif self.held then
        self:guess_list(frame)
        self.failed = true
      elseif MACHINE.MESSAGES[self.state] and (self.state ~= "XL_CONFIG" or self.optional_data_len) then
        if self.have > 0 then
          self:open_message()
        else
          left = left - self:lost_message(left)
        end
      else
        self.failed = true
      end
    end
    return count - left
  end

  -- The stream ends here: hand out what is unfinished.
  function methods:end_of_stream()
    if self.held then
      self:decide_list(self.start_frame, true)
    end
    local message = MACHINE.MESSAGES[self.state]
    if self.unit == nil and self.have > 0 and message and identified(message, self:wanted()) then
      if self.state == "XL_CONFIG" and not self.optional_data_len then
        return
      end
      self:open_message()
    end
    if self.unit then
      self:cut_unit()
    elseif self.have > 0 and MACHINE.ENDS[self.state] then
      self:finding(FINDING.TRAILING, self.start)
    elseif self.have > 0 and MACHINE.RECORDS[self.state] then
      local facts = { what = "a record header", missing = HEADER_SIZE - self.have }
      self:finding(FINDING.RECORD_CUT, self.start, facts)
    end
    self:forget()
  end

  -- The stream ends inside a unit.
  function methods:cut_unit()
    local unit = self.unit
    unit.cut_at = self.position
    if unit.body == "" then
      unit.body = self:wanted()
    end
    if self:is_back_list(unit.record) and self.list_header > HEADER_SIZE then
      self:take_stray(unit, self.list_header - HEADER_SIZE)
      unit.extra.header_size = self.list_header
    end
    local facts = { what = unit.record.layer .. " " .. unit.name, missing = unit_end(unit) - self.position }
    self:finding(FINDING.RECORD_CUT, unit.offset, facts)
    self.unit = nil
    self:emit(unit)
  end

  -- The headers of this connection's dirty lists have `size` bytes, that of the one being read too; 0: nobody knows.
  function methods:know_list_header(size)
    if self.list_header > 0 or size == 0 then
      return
    end
    self.list_header = size
    local unit, stray = self.unit, size - HEADER_SIZE
    if stray > 0 and unit and self:is_back_list(unit.record) then
      unit.size = unit.size + stray
      if self.skip > 0 then
        self.skip = self.skip + stray
      else
        self.body_kept = math.min(unit.body_length + stray, LIMITS.max_body)
        self.need = self.body_kept
      end
    end
  end

  -- Somebody else told which header this direction begins with, whatever is lost of it.
  function methods:expect(state)
    self.entered, self.state = state, state
    self.need = MACHINE.MESSAGES[state].length.exact[1]
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- What comes next

  -- How many bytes the choice between states looks at.
  local function choice_size(choices)
    local most = 0
    for _, row in ipairs(choices.rows) do
      most = math.max(most, row.text and #row.text or HEADER_SIZE)
    end
    return most
  end

  -- Set `need` for the state.
  function methods:begin()
    self.start = self.position
    self:forget()
    local state = self.state
    if state == "XL_CONFIG" then
      local length = self.optional_data_len
      if length == nil then
        self.need = CONFIG_LEN_SIZE
      elseif length == 0 then
        self:after_config()
      else
        self.need = math.min(length, LIMITS.max_body)
      end
    elseif MACHINE.MESSAGES[state] then
      self.need = MACHINE.MESSAGES[state].length.exact[1]
    elseif MACHINE.RECORDS[state] then
      self.need = HEADER_SIZE
    elseif MACHINE.CHOICES[state] then
      self.need = choice_size(MACHINE.CHOICES[state])
    else
      self.need = 1
    end
  end

  -- The needed bytes are there.
  function methods:collected(frame)
    local state = self.state
    if self.held then
      self:decide_list(frame, false)
    elseif self.unit then
      self:read_body(frame)
    elseif state == "XL_CONFIG" and not self.optional_data_len then
      self:infer_config(frame)
    elseif MACHINE.MESSAGES[state] then
      self:message(frame)
    elseif MACHINE.RECORDS[state] then
      self:head(frame)
    elseif MACHINE.CHOICES[state] then
      self:choose(frame)
    elseif state == "DONE" and self.strict then
      self.failed = true
    else
      if state == "DONE" then
        self:finding(FINDING.TRAILING, self.start)
      end
      self:ignore_rest()
    end
  end

  function methods:ignore_rest()
    self:forget()
    self.state = "LEGACY"
    self.skip = FOREVER
  end

  -- Whether the bytes at hand are what a row of MACHINE.CHOICES asks for.
  local function fits(row, seen, order)
    if row.text then
      return seen:sub(1, #row.text) == row.text
    end
    return codec.uint(seen, 1, 4, order) == row.type_id
      and (row.body_length == nil or codec.uint(seen, 5, 4, order) == row.body_length)
  end

  -- Decide by the bytes at hand in which state they are to be read.
  function methods:choose(frame)
    local choices = MACHINE.CHOICES[self.state]
    local seen = self:wanted()
    local state = choices.otherwise
    for _, row in ipairs(choices.rows) do
      if fits(row, seen, self.order) then
        state = row.state
        break
      end
    end
    if state then
      self:become(state, frame)
    elseif MACHINE.ENDS[self.state] and not self.strict then
      self:finding(FINDING.TRAILING, self.start)
      self:ignore_rest()
    else
      self.failed = true
    end
  end

  -- Read the bytes at hand again, in `state`.
  function methods:become(state, frame)
    local modes = MACHINE.MODES[self.state]
    self.mode = modes and modes[state] or self.mode
    self.entered = self.entered or state
    self.state = state
    self:reread(self.start, frame)
  end

  -- Begin at `start` with the collected bytes, which are there already.
  function methods:reread(start, frame)
    local seen = self:wanted()
    self.position = start
    self:begin()
    local used = math.min(self.need, #seen)
    self:collect(seen:sub(1, used))
    self.position = self.position + used
    if used > 0 and used == self.need then
      self:collected(frame)
    end
    if used < #seen and not self.failed then
      used = used + self:data(framer.text_view(seen:sub(used + 1)), frame)
    end
    if self.failed then -- whoever searches on needs all bytes from `start`
      self:collect(seen:sub(used + 1))
      self.position = self.position + #seen - used
    end
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- Headers and messages

  function methods:message_size()
    return self.state == "XL_CONFIG" and self.optional_data_len or self.need
  end

  function methods:new_unit(record, type_id, size, body_length, order)
    return {
      record = record,
      type_id = type_id,
      name = record.name,
      offset = self.start,
      size = size,
      body_length = body_length,
      order = order,
      first_frame = self.start_frame,
      body = "",
      header_size = type_id and HEADER_SIZE or 0,
      extra = {},
    }
  end

  -- Begin a unit for the message of this state.
  function methods:open_message()
    local record = MACHINE.MESSAGES[self.state]
    if record == SAVE_FILE_HEADER and self:wanted():sub(33, 36) == "\1\2\3\4" then
      self.xl_order = "big"
    end
    local order = record.layer == "xl" and self.xl_order or self.order
    self.unit = self:new_unit(record, nil, self:message_size(), nil, order)
  end

  -- Pass over a message of which no byte came; return how many lost bytes that used.
  function methods:lost_message(lost)
    local size = self:message_size()
    if lost < size then
      self:open_message()
      self.skip = size
      return 0
    end
    self.position = self.position + size
    self:after(MACHINE.MESSAGES[self.state], "")
    return size
  end

  -- A whole message is there (or as much as is kept of it).
  function methods:message(frame)
    local record = MACHINE.MESSAGES[self.state]
    if not identified(record, self:wanted()) then
      if record.layer == "xl" and record ~= SAVE_FILE_HEADER then
        self:finding(FINDING.MESSAGE, self.start, { what = record.name })
      end
      self.failed = true
      return
    end
    self:open_message()
    local unit = self.unit
    unit.body = self:wanted()
    if self.strict then
      local gained = codec.evidence(record, unit.body, unit.order, nil)
      if gained < 0 then
        self.failed = true
        self.unit = nil
        return
      end
      self:weigh(unit, gained)
    end
    self.skip = unit_end(unit) - self.position
    if self.skip > 0 then
      self:finding(FINDING.LIMIT_BODY, unit.offset, { what = unit.name, kept = #unit.body })
    else
      self:complete(frame)
    end
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- Records

  -- What a strict framer accepts.
  function methods:accept_strictly(record, length)
    if record == nil or not codec.allows(record.length, length) then
      return nil
    end
    local any = self.guest == nil or self.guest == "" or record.guests == "any"
    return (any or record.guests == self.guest) and record or nil
  end

  -- A type number that does not belong here: the definition of a record of this layer, or one that stands in.
  function methods:accept_foreign(type_id, length)
    local layer = MACHINE.LAYER[self.state]
    if self.state == "BACK_CHANNEL" then
      return nil
    end
    local record = BY_TYPE[layer][type_id]
    if record then
      if not codec.allows(record.length, length) then
        return nil
      end
      self:finding(FINDING.UNEXPECTED, self.start, { what = layer .. " " .. record.name })
      return record
    end
    if type_id % CONST.OPTIONAL_RECORD >= UNKNOWN_TYPES then
      return nil
    end
    local optional = type_id >= CONST.OPTIONAL_RECORD and layer == "libxc"
    local rule = optional and FINDING.UNKNOWN_OPTIONAL or FINDING.UNKNOWN_RECORD
    self:finding(rule, self.start, { layer = layer, type_id = type_id })
    return unknown_record(layer, type_id)
  end

  -- The definition for a record header; nil when it can not be one.
  function methods:accept(type_id, length)
    local record = MACHINE.RECORDS[self.state][type_id]
    if self.strict then
      return self:accept_strictly(record, length)
    end
    local limit = MACHINE.LAYER[self.state] == "libxc" and CONST.REC_LENGTH_MAX or LIBXL_LENGTH_MAX
    if length > limit then
      return nil
    end
    if record == nil then
      return self:accept_foreign(type_id, length)
    end
    if not codec.allows(record.length, length) then
      local exact = record.length.exact
      if #exact == 1 and exact[1] == 0 and length > FOREIGN_EMPTY_MAX then
        return nil
      end
      local expected = codec.allowed_text(record.length)
      self:finding(FINDING.RECORD_LENGTH, self.start, { what = record.name, length = length, expected = expected })
    end
    return record
  end

  -- A record header is there.
  function methods:head(frame)
    local seen = self:wanted()
    local type_id, length = codec.uint(seen, 1, 4, self.order), codec.uint(seen, 5, 4, self.order)
    local record = self:accept(type_id, length)
    if record == nil then
      self.failed = true
      return
    end
    self:forget()
    self.unit = self:new_unit(record, type_id, HEADER_SIZE + padded(length), length, self.order)
    self.body_kept = math.min(length, LIMITS.max_body)
    if self:is_back_list(record) and self.list_header > HEADER_SIZE then
      local stray = self.list_header - HEADER_SIZE
      self.body_kept = math.min(length + stray, LIMITS.max_body)
      self.unit.size = self.unit.size + stray
    end
    -- Page contents are not wanted: only what comes before the pfn list, and then the list.
    local before = codec.list_plan(record)
    self.counted = before == nil
    self.body_wanted = before and 0 or length
    self.need = before and math.min(length, before) or self.body_kept
    if self.need == 0 then
      self:read_body(frame)
    end
  end

  -- With the count that comes before a pfn list, see how long the list is; true when more bytes are wanted.
  function methods:count_list(unit)
    self.counted = true
    local before, at, size = codec.list_plan(unit.record)
    if self.have ~= before then
      return false
    end
    local count = codec.uint(self:wanted(), at + 1, size, self.order)
    self.body_wanted = math.min(before + 8 * count, unit.body_length)
    self.need = math.min(self.body_wanted, self.body_kept)
    return self.need > before
  end

  -- The wanted part of a body is there, or (with a pfn list) its count.
  function methods:read_body(frame)
    local unit = self.unit
    if not self.counted and self:count_list(unit) then
      return
    end
    unit.body = self:wanted()
    self:forget()
    self:judge(unit)
    if self.failed then
      return
    end
    self.skip = unit_end(unit) - self.position
    if self.skip == 0 then
      self:complete(frame)
    end
  end

  -- Compare a body with its definition: kills a strict framer, otherwise makes findings.
  function methods:judge(unit)
    if self.strict then
      local gained = codec.evidence(unit.record, unit.body, unit.order, unit.body_length)
      if gained < 0 then
        self:collect(unit.body)
        self.unit = nil
        self.failed = true
        return
      end
      self:weigh(unit, gained)
      return
    end
    local expected = codec.expected_length(unit.record, unit.body, unit.order)
    if expected and expected ~= unit.body_length then
      local facts = { what = unit.name, length = unit.body_length, expected = expected }
      self:finding(FINDING.RECORD_LENGTH, unit.offset, facts)
    end
    if self.body_wanted > LIMITS.max_body then
      self:finding(FINDING.LIMIT_BODY, unit.offset, { what = unit.name, kept = #unit.body })
    end
  end

  -- Count the evidence of one more head; a kind of record that proves little counts once.
  function methods:weigh(unit, gained)
    self.heads = self.heads + 1
    if unit.record == self.last and not unit.record.repeats then
      self.failed = true
    end
    self.last = unit.record
    self.kept = self.kept + #unit.body
    self.starts[unit.offset] = true
    if gained > 1 or not self.weak[unit.name] then
      self.weight = self.weight + gained
      self.weak_row = 0
    else
      self.weak_row = self.weak_row + 1
      if self.weak_row > LONGEST_WEAK_ROW then
        self.failed = true
      end
    end
    if gained <= 1 then
      self.weak[unit.name] = true
    end
    if self.state == "BACK_CHANNEL" then
      self:follow_back_channel(unit)
    end
  end

  -- The records of the back channel come in a fixed order.
  function methods:follow_back_channel(unit)
    local step = unit.record == CHECKPOINT_STATE and unit.body:byte(1) or -1
    if self.back_step and MACHINE.BACK_CHANNEL_ORDER[self.back_step] ~= step then
      self.failed = true
    end
    self.back_step = step
  end

  -- The stream ends: count the evidence of the record it ends in.
  function methods:weigh_rest()
    local unit = self.unit
    if unit == nil or self.have == 0 or unit.type_id == nil then
      return
    end
    local gained = codec.evidence(unit.record, self:wanted(), unit.order, unit.body_length)
    if gained < 0 then
      self.failed = true
    else
      self:weigh(unit, gained)
    end
  end

  -- Bytes of the wanted part are lost: keep what came before them and pass over the rest of the unit.
  function methods:keep_prefix(frame)
    local unit = self.unit
    if self.have > 0 then
      unit.body = self:wanted()
      self:forget()
    end
    if self.strict and unit.type_id then
      self:judge(unit)
      if self.failed then
        return
      end
    end
    self.skip = unit_end(unit) - self.position
    if self.skip == 0 then
      self:complete(frame)
    end
  end

  function methods:complete(frame)
    local unit = self.unit
    self.unit = nil
    unit.last_frame = frame
    if self:is_back_list(unit.record) then
      self:list_complete(unit)
      return
    end
    self:emit(unit)
    self:after(unit.record, unit.body)
  end

  function methods:emit(unit)
    self.units[#self.units + 1] = unit
  end

  -- Go on to the state behind `record`.
  function methods:after(record, body)
    if record == CONFIG then
      self:after_config()
      return
    end
    if record == SAVE_FILE_HEADER then
      self:read_xl_header(body)
    elseif record == STREAM_HEADER then
      self:set_order(record, body:sub(13, 16))
    elseif record == IMAGE_HEADER then
      self:set_order(record, body:sub(17, 18))
    elseif record == LIBXC_END and not self.mode then
      self.mode = "plain"
    end
    local following = MACHINE.NEXT[self.state]
    local bare = self.whole and self.entered == "IMAGE_HEADER" and MACHINE.NEXT_BARE[self.state]
    self.state = bare and bare[record.name] or following and following[record.name] or self.state
    self:begin()
  end

  -- Remember what the xl header says about the bytes behind it.
  function methods:read_xl_header(body)
    if #body < SAVE_FILE_HEADER.length.exact[1] then
      self.optional_data_len = nil
      return
    end
    local mandatory_flags = codec.uint(body, 37, 4, self.xl_order)
    self.streamv2 = mandatory_flags % (2 * CONST.STREAMV2) >= CONST.STREAMV2
    self.optional_data_len = codec.uint(body, 45, 4, self.xl_order)
  end

  -- The xl header is lost, but its configuration follows: Xen's writer makes that all of the optional data.
  function methods:infer_config(frame)
    local length = codec.uint(self:wanted(), 1, CONFIG_LEN_SIZE, self.xl_order)
    if length == 0 or length > CONFIG_LEN_MAX then
      self.failed = true
      return
    end
    self.optional_data_len = CONFIG_LEN_SIZE + length
    self:reread(self.start, frame)
  end

  function methods:after_config()
    if self.streamv2 then
      self.state = "LIBXL_HEADER"
      self:begin()
      return
    end
    self:finding(FINDING.LEGACY, self.position, { what = "xl header without STREAMv2" })
    self:ignore_rest()
  end

  -- The lowest bit of the options says that records are big endian.
  function methods:set_order(record, options)
    if options ~= "" and options:byte(-1) % 2 == 1 then
      self.order = "big"
      self:finding(FINDING.BIG_ENDIAN, self.start, { layer = record.layer })
    end
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- The dirty list, whose header has 8, 16 or 12 bytes

  function methods:is_back_list(record)
    return record == DIRTY_LIST and self.state == "BACK_CHANNEL"
  end

  -- A dirty list is there up to where it ends if its header has 8 bytes, or up to its known end.
  function methods:list_complete(unit)
    self.held = unit
    if self.list_header == 0 and dirtylist.plainly_specified(unit.body) then
      self.list_header = HEADER_SIZE
    end
    if self.list_header > 0 then
      self:settle_list(self.list_header, unit.last_frame)
      return
    end
    self.start = self.position
    self.marks = {}
    self.need = dirtylist.LOOKAHEAD[1]
  end

  -- Tell the header size from the bytes behind the list.
  function methods:decide_list(frame, at_end)
    local unit, seen = self.held, self.have
    self.marks[seen] = frame
    local size, certain
    if at_end or dirtylist.DECIDING[seen] then
      size, certain = dirtylist.header_size(unit.body, self:wanted(), unit.order, at_end)
    end
    if size == nil then
      self:look_further(seen)
      return
    end
    if certain and not at_end then
      self.list_header = size
    end
    self:settle_list(size, frame)
  end

  function methods:look_further(seen)
    for _, count in ipairs(dirtylist.LOOKAHEAD) do
      if count > seen then
        self.need = count
        return
      end
    end
  end

  -- What follows a list is lost.
  function methods:guess_list(frame)
    local unit = self.held
    local size = dirtylist.guess(unit.body, self:wanted(), unit.order)
    if size > HEADER_SIZE then
      unit.extra.header_size_inferred = true
    end
    self:settle_list(size, frame)
  end

  -- The list has `stray` bytes between header and first pfn: take them out of its body.
  function methods:take_stray(unit, stray, frame)
    local body = unit.body
    if unit.size == HEADER_SIZE + padded(unit.body_length) then
      local ahead = self:wanted()
      body = body .. ahead:sub(1, stray)
      self:forget()
      self:collect(ahead:sub(stray + 1))
      unit.size = unit.size + stray
      unit.last_frame = self.marks[stray] or frame
      self.start_frame = self.marks[stray + 1] or frame
    end
    unit.header_size = HEADER_SIZE + stray
    unit.extra.stray = framer.hex(body:sub(1, stray), "")
    unit.body = body:sub(stray + 1)
    self:finding(FINDING.DIRTY_HEADER, unit.offset, { size = unit.header_size })
  end

  -- Hand out the held list as one with a header of `size` bytes, and read on behind it.
  function methods:settle_list(size, frame)
    local unit = self.held
    self.held = nil
    if size > HEADER_SIZE then
      self:take_stray(unit, size - HEADER_SIZE, frame)
    end
    unit.extra.header_size = size
    self:emit(unit)
    self.state = "BACK_CHANNEL"
    self:reread(unit_end(unit), frame)
  end

  ---------------------------------------------------------------------------------------------------------------------

  -- Bytes as hexadecimal digits.
  function framer.hex(text, between)
    local digits = {}
    for at = 1, #text do
      digits[at] = string.format("%02x", text:byte(at))
    end
    return table.concat(digits, between)
  end

  function methods:finding(id, offset, facts)
    if not self.strict then
      self.findings[#self.findings + 1] = { id = id, offset = offset, text = framer.finding_text(id, facts) }
    end
  end
end
