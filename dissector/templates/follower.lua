-- SPDX-License-Identifier: GPL-2.0-or-later
-- Followers: one direction of a connection each, and the pair of them, which finds out who sends and in which mode.
-- Mirrors dissector/wire/follower.py, flow.py and legacy.py of xendissect.
--
-- A follower takes bytes and gaps in stream order. It gives them to its framer or, where framing was lost, to a search,
-- and collects what they find: `units` (see framer) and `notes` about gaps, places where framing was found again, and
-- findings. Nothing waits for bytes that may still come: which bytes of a unit are missing is asked later, with
-- follower.missing.

local follower = {}

do
  local methods = {}
  methods.__index = methods

  -- Gaps and findings kept until it is known whether the connection is a migration.
  local EARLY_NOTES = 4096
  -- More than any stream has.
  local FOREVER = 9007199254740992
  -- Which records can be told from guest memory depends on the kind of guest.
  local GUEST_KINDS = { ["x86 PV"] = "PV", ["x86 HVM"] = "HVM" }
  local OPPOSITE = { forward = "reverse", reverse = "forward" }

  local PAGE_DATA = RECORDS["libxc.PAGE_DATA"]
  local DOMAIN_HEADER = RECORDS["libxc.DOMAIN_HEADER"]

  ---------------------------------------------------------------------------------------------------------------------
  -- Streams of Xen 4.5 and older: they are named, not decoded

  local ALL_ONES = ("\255"):rep(8)
  local PV_CHUNKS = { vcpu = true, extv = true, xcnt = true }
  -- Guests above 256 TiB did not exist: a larger p2m_size means that this is something else.
  local MOST_PAGES = 68719476736

  -- Whether a batch of pages, or another chunk of a guest without a p2m table, begins behind p2m_size.
  local function is_legacy_chunk(prefix, p2m_size)
    local chunk = codec.uint(prefix, 9, 4, "little")
    if chunk >= 1 and chunk <= 1024 then
      local low, high = codec.uint(prefix, 13, 4, "little"), codec.uint(prefix, 17, 4, "little")
      if high % 268435456 * 4294967296.0 + low < p2m_size then -- without the page type in the upper 4 bits
        return true
      end
    end
    return chunk >= 4294967276 and p2m_size < 4294967296 -- ids of other chunks: -20 to -1
  end

  -- Name the legacy stream that begins with `prefix` (at least 24 bytes for most); nil when it is none.
  function follower.identify_legacy(prefix)
    if prefix:sub(1, 16) == "LinuxGuestRecord" then
      return "xend image (LinuxGuestRecord)"
    elseif #prefix < 24 or prefix:sub(1, 8) == ALL_ONES then
      return nil
    end
    local p2m_size = codec.uint(prefix, 1, 8, "little")
    if p2m_size > 0 and p2m_size < MOST_PAGES then
      if prefix:sub(9, 16) == ALL_ONES and PV_CHUNKS[prefix:sub(21, 24)] then
        return "libxc stream of a 64-bit toolstack, PV guest"
      elseif is_legacy_chunk(prefix, p2m_size) then
        return "libxc stream of a 64-bit toolstack, HVM guest"
      end
    end
    if prefix:sub(5, 8) == ALL_ONES:sub(1, 4) and PV_CHUNKS[prefix:sub(13, 16)] then
      return "libxc stream of a 32-bit toolstack, PV guest"
    end
    return nil
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- One direction: what comes in

  local function new_follower(flow)
    return setmetatable({
      flow = flow,
      role = nil, -- "forward" or "reverse"
      begun = false, -- stream offset 0 is known to be its first byte
      framer = framer.new("START", 0),
      search = nil, -- in place of the framer while framing is lost
      position = 0, -- stream offset of the next byte
      ignored = false, -- nothing here is of interest
      concluded = false,
      units = {},
      notes = {},
      count = 0, -- units so far
      lost = {}, -- ranges {start, end} that never came, sorted
      reached = 0, -- where the last unit ends
      behind = 0, -- how many of `lost` end before that
      alignment = nil, -- stream offset modulo 8 of all record heads
      pages_seen = false,
      told = {}, -- ids of findings that are made only once
      new_guest = nil, -- guest type in the domain header that was found just now
      last_frame = 0,
    }, methods)
  end

  -- Stream bytes from here on that nobody needs.
  function methods:skip()
    return self.search and 0 or self.framer.skip
  end

  -- Take the next bytes.
  function methods:data(view, frame)
    self.position = self.position + view.length
    self.last_frame = frame
    if self.ignored or self.concluded then
      return
    end
    if self.search then
      self:searched(self.search:data(view, frame))
    else
      if self.framer.entered == nil then
        self.framer.whole = self.flow.start ~= "mid-stream"
      end
      local used = self.framer:data(view, frame)
      self:take_found()
      if self.framer.failed then
        local rest = used < view.length and view:read(used, view.length - used) or ""
        self:framing_lost(self.framer:wanted() .. rest, frame)
      end
    end
    self:settle()
  end

  -- Account for bytes inside skip() that were passed without being looked at.
  function methods:advance(count)
    self.position = self.position + count
    self.framer:advance(count, self.last_frame)
  end

  -- Note which frame was the last whose bytes were passed by advance().
  function methods:passed(frame)
    self.last_frame = frame
  end

  -- Pass over bytes that are not there, now or never.
  function methods:gap(count, frame)
    self.position = self.position + count
    self.last_frame = frame
    if self.ignored or self.concluded then
      return
    end
    if self.search then
      self:searched(self.search:gap(count, frame))
    else
      self:gap_in_framing(count, frame)
    end
    self:settle()
  end

  function methods:gap_in_framing(count, frame)
    local flow = self.flow
    local begins_with_xl = self.role == "forward" and flow.entry == "xl" and flow.start == "syn"
    if begins_with_xl and self.framer.entered == nil then
      self.framer:expect("XL_HEADER")
    end
    self.framer:gap(count, frame)
    self:take_found()
    if self.framer.failed then
      self:begin_search(self.framer.start):skip_to(self.position)
    end
  end

  -- Remember stream bytes `start` to `stop` that will never come.
  function methods:lost_bytes(start, stop, reason, frame)
    if self.ignored or self.concluded then
      return
    end
    self:remember_lost(start, stop, frame)
    if reason == "snaplen" then
      self:once(FINDING.SNAPLEN, start, frame)
    end
    self:early_note({ kind = "gap", offset = start, length = stop - start, reason = reason, frame = frame })
  end

  -- Report a limit that was hit, once.
  function methods:limit(id, limit, offset, frame)
    self:once(id, offset, (frame or 0) > 0 and frame or self.last_frame, { limit = limit })
  end

  -- No more bytes will come: finish what is being framed, or take the best that the search has.
  function methods:conclude()
    if self.ignored or self.concluded then
      return
    end
    self.concluded = true
    if self.search then
      self:search_ends(self.search)
    else
      self.framer:end_of_stream()
      self:take_found()
    end
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- One direction: framing

  -- Take units and findings from the framer.
  function methods:take_found()
    local found = self.framer
    if self.role == nil and found.entered then
      local role = MACHINE.REVERSE[found.entered] and "reverse" or "forward"
      self.flow:assign(self, role, MACHINE.ENTRY[found.entered] or "libxl")
    end
    if found.mode then
      self.flow:note_mode(found.mode)
    end
    for _, unit in ipairs(found.units) do
      self:take_unit(unit)
    end
    found.units = {}
    for _, finding in ipairs(found.findings) do
      self:add_finding(finding.id, finding.offset, finding.text, self.last_frame)
    end
    found.findings = {}
  end

  function methods:take_unit(unit)
    if self.alignment == nil and unit.record.layer ~= "xl" and self.role == "forward" then
      self.alignment = unit.offset % 8
    end
    if unit.record == PAGE_DATA then
      self.pages_seen = true
    elseif unit.record == DOMAIN_HEADER and self.role == "forward" then
      self:take_guest(unit)
    end
    self.count = self.count + 1
    unit.number = self.count
    unit.last_frame = unit.last_frame or self.last_frame
    unit.decided = self.last_frame
    self.units[#self.units + 1] = unit
    self.reached = unit.offset + unit.size
  end

  -- Read the guest type of a domain header of which nothing is missing.
  function methods:take_guest(unit)
    if #follower.missing(self, unit) > 0 then
      return
    end
    local type_id = codec.uint(unit.body, 1, 4, unit.order)
    self.new_guest = DOMAIN_HEADER.body[1].names.values[type_id] or string.format("type %d", type_id)
  end

  -- At the end of an input: what was found in it counts from the next one on.
  function methods:settle()
    self.flow.guest = self.new_guest or self.flow.guest
    self.new_guest = nil
    local lost, reached = self.lost, self.reached
    while self.behind < #lost and lost[self.behind + 1][2] <= reached do
      self.behind = self.behind + 1
    end
  end

  -- The bytes at hand are no record head: find out what they are, or search for the next one.
  function methods:framing_lost(seen, frame)
    local flow, start, greeting = self.flow, self.framer.start, false
    if self.framer.entered == nil then
      local from_beginning = flow.start ~= "mid-stream"
      local name = from_beginning and follower.identify_legacy(seen:sub(1, self.framer.have + 64))
      if name and self.role ~= "reverse" then
        self:take_legacy(name)
        return
      elseif from_beginning and #self.lost == 0 and self.role == nil then
        greeting = self:may_greet(seen)
        if not greeting then
          flow:not_a_migration()
          return
        end
      elseif self.role == "reverse" and start == 0 and from_beginning then
        self:once(FINDING.REVERSE_UNKNOWN, 0, frame)
      end
    else
      local what = framer.hex(self.framer:wanted():sub(1, 16), " ")
      self:add_finding(FINDING.FRAMING, start, framer.finding_text(FINDING.FRAMING, { what = what }), frame)
    end
    local search = self:begin_search(start)
    if greeting then
      search.greeting, search.role = true, "reverse"
    end
    self:searched(search:data(framer.text_view(seen), frame))
  end

  function methods:take_legacy(name)
    if self.role == nil then
      self.flow:assign(self, "forward", "legacy")
    end
    self.flow.entry = "legacy"
    self:once(FINDING.LEGACY, 0, self.last_frame, { what = name })
    self.framer.state = "LEGACY"
    self.framer.failed = false
    self.framer:forget()
    self.framer.skip = FOREVER
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- One direction: searching

  function methods:begin_search(start)
    local options = { role = self.role, order = self.framer.order, alignment = self.alignment }
    self.search = resync.new(start, options)
    self.search.pages_seen = self.pages_seen
    self.search.guest = GUEST_KINDS[self.flow.guest] or ""
    return self.search
  end

  function methods:searched(candidate)
    local search = self.search
    self:greeted(search)
    if candidate then
      self:adopt(search, candidate)
    elseif not self.flow.announced and search.greeting then
      if search.searched > resync.GREETING_MAX then
        self.ignored = true
        self.flow:not_a_migration()
      end
    elseif not self.flow.announced and search.searched > LIMITS.max_search then
      self.ignored = true
      self.flow:nothing_found(self)
    end
  end

  -- Whether a direction begins with text that a banner may follow: the sender says nothing before that.
  function methods:may_greet(seen)
    return self.flow.start == "syn" and self.flow:other(self).search == nil and resync.is_text(seen)
  end

  -- The other direction may have told meanwhile what one that begins with text is.
  function methods:greeted(search)
    if search.greeting and self.role then
      search.greeting = false
      if self.role == "reverse" then
        self:once(FINDING.REVERSE_UNKNOWN, 0, self.last_frame)
      end
    end
  end

  -- Go on with a chain of records that is proven.
  function methods:adopt(search, candidate)
    local found, before = candidate.framer, self.framer
    self.search = nil
    if self.role == nil then
      self.flow:assign(self, candidate.role, search.greeting and "xl" or "unknown")
      if search.greeting then
        self:once(FINDING.MESSAGE, 0, self.last_frame, { what = "the text before the banner" })
      end
    end
    found.strict = false
    found:know_list_header(before.list_header)
    found.entered = before.entered or found.state
    found.whole = before.whole
    self.framer = found
    if candidate.start > search.start then
      self:tell_resync(search, candidate, found.units[1] or found.unit)
    end
    self:take_found()
    if found.failed then
      self:begin_search(found.start):skip_to(self.position)
    end
  end

  function methods:tell_resync(search, candidate, first)
    self:add_note({
      kind = "resync",
      offset = search.start,
      skipped = candidate.start - search.start,
      found = first and first.record.layer .. " " .. first.name or candidate.first,
      frame = first and first.first_frame or self.last_frame,
    })
  end

  function methods:search_ends(search)
    self:greeted(search)
    local candidate = search:end_of_stream(self.last_frame)
    if candidate then
      self:adopt(search, candidate)
      if self.search == nil then
        self.framer:end_of_stream()
        self:take_found()
        return
      end
      search = self.search
    end
    local skipped = search.position - search.start
    if self.role and skipped > 0 then
      self:add_note({
        kind = "resync",
        offset = search.start,
        skipped = skipped,
        found = "",
        frame = self.last_frame,
      })
    end
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- One direction: notes and what is missing

  local function finding_note(id, offset, text, frame)
    return { kind = "finding", id = id, severity = RULES[id].severity, text = text, offset = offset, frame = frame }
  end

  function methods:add_note(note)
    self.notes[#self.notes + 1] = note
  end

  function methods:add_finding(id, offset, text, frame)
    self:add_note(finding_note(id, offset, text, frame))
  end

  -- A note that comes before it is known whether this is a migration: not too many of them.
  function methods:early_note(note)
    local flow = self.flow
    if not flow.announced then
      if flow.early >= EARLY_NOTES then
        return
      end
      flow.early = flow.early + 1
    end
    self:add_note(note)
  end

  function methods:once(id, offset, frame, facts)
    if not self.told[id] then
      self.told[id] = true
      self:early_note(finding_note(id, offset, framer.finding_text(id, facts or {}), frame))
    end
  end

  -- Put a range into `lost`. Of those that units to come can have there may be max_lost; then neighbours are joined.
  function methods:remember_lost(start, stop, frame)
    local lost, at = self.lost, #self.lost
    while at > 0 and lost[at][1] > start do
      at = at - 1
    end
    local crowded = #lost - self.behind >= LIMITS.max_lost
    local follows = at > 0 and lost[at][2] == start
    if crowded and not follows then
      self:limit(FINDING.LIMIT_LOST, LIMITS.max_lost, start, frame)
    end
    if at > 0 and (follows or crowded) then
      lost[at] = { lost[at][1], math.max(lost[at][2], stop) }
      self.behind = math.min(self.behind, at - 1)
    else
      table.insert(lost, at + 1, { start, stop })
      self.behind = self.behind + (at < self.behind and 1 or 0)
    end
  end

  -- The first of the sorted ranges that ends behind `offset`.
  local function first_behind(ranges, offset)
    local low, high = 1, #ranges + 1
    while low < high do
      local middle = math.floor((low + high) / 2)
      if ranges[middle][2] > offset then
        high = middle
      else
        low = middle + 1
      end
    end
    return low
  end

  -- The parts of the sorted `ranges` in start..stop, added to `found`.
  local function clip(ranges, start, stop, found)
    for index = first_behind(ranges, start), #ranges do
      local range = ranges[index]
      if range[1] >= stop then
        break
      end
      found[#found + 1] = { math.max(range[1], start), math.min(range[2], stop) }
    end
  end

  -- The bytes of a unit that are missing: an array of {offset=, length=}. `holes` (an array of {start=, stop=}, sorted;
  -- may be nil) are bytes that have not come yet but still may.
  function follower.missing(self, unit, holes)
    local start, stop = unit.offset, unit.offset + unit.size
    local ranges, open = {}, {}
    clip(self.lost, start, stop, ranges)
    for index, hole in ipairs(holes or {}) do
      open[index] = { hole.start, hole.stop }
    end
    clip(open, start, stop, ranges)
    if unit.cut_at and unit.cut_at < stop then
      ranges[#ranges + 1] = { unit.cut_at, stop }
    end
    table.sort(ranges, function(one, other) return one[1] < other[1] end)
    local found = {}
    for _, range in ipairs(ranges) do
      local before = found[#found]
      if before and before.offset + before.length >= range[1] then
        before.length = math.max(before.length, range[2] - before.offset)
      else
        found[#found + 1] = { offset = range[1], length = range[2] - range[1] }
      end
    end
    return found
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- The pair

  local pair = {}
  pair.__index = pair

  -- Make the pair of followers of a connection; `start`: "syn", "mid-stream" or "file".
  function follower.pair(start)
    local flow = setmetatable({
      start = start,
      mode = "unknown",
      entry = "unknown", -- what the stream begins with: xl, libxl, libxc, legacy
      guest = "", -- guest type as the domain header says
      checked = nil, -- what `check` remembers
      announced = false, -- known to be a migration
      uninteresting = false, -- known to be none
      early = 0, -- notes made before it was known to be a migration
      ended = false,
    }, pair)
    flow.followers = { new_follower(flow), new_follower(flow) }
    return flow
  end

  function pair:other(one)
    return one == self.followers[1] and self.followers[2] or self.followers[1]
  end

  -- One direction knows what it is (by content, never by who opened the connection): the other one is the opposite.
  function pair:assign(one, role, entry)
    local other = self:other(one)
    one.role, other.role = role, OPPOSITE[role]
    if other.search then
      other.search.role = other.role
    elseif other.role == "reverse" and other.framer.state == "START" then
      other.framer.state = "REVERSE_START"
    end
    other.ignored = false
    self.entry = entry
    self.announced = true
  end

  -- Remember what a direction says about the mode; the first word counts.
  function pair:note_mode(mode)
    if self.mode == "unknown" then
      self.mode = mode
    end
  end

  -- The first bytes of a direction say that this is something else.
  function pair:not_a_migration()
    self.uninteresting = true
  end

  -- A direction was searched long enough.
  function pair:nothing_found(one)
    local text = framer.finding_text(FINDING.LIMIT_SEARCH, { limit = LIMITS.max_search })
    one:add_finding(FINDING.LIMIT_SEARCH, one.search.start, text, one.last_frame)
    local other = self:other(one)
    if other.ignored or other.position == 0 then
      self.uninteresting = true
    end
  end

  local function knows_more(one, other)
    if (one.role == nil) ~= (other.role == nil) then
      return one.role ~= nil
    end
    return one.position > other.position
  end

  -- No more bytes in either direction.
  function pair:finish()
    if self.ended then
      return
    end
    self.ended = true
    -- What one direction finds at its end may tell the other one what it is: those that know come first.
    local first, second = self.followers[1], self.followers[2]
    if knows_more(second, first) then
      first, second = second, first
    end
    first:conclude()
    second:conclude()
    first:conclude() -- again: it may have been ignored until the second one told what it is
    first:settle()
    second:settle()
  end

  -- A copy of a value and everything in it; definitions of records are shared.
  local function copy(value, copies)
    if type(value) ~= "table" or value.layer then
      return value
    elseif copies[value] == nil then
      local new = {}
      copies[value] = new
      for key, item in pairs(value) do
        new[copy(key, copies)] = copy(item, copies)
      end
      setmetatable(new, getmetatable(value))
    end
    return copies[value]
  end

  -- A copy of the state without the units and notes so far: finishing it tells what the end of the capture would add.
  function pair:preview()
    local copies = {}
    for _, one in ipairs(self.followers) do
      copies[one.units], copies[one.notes], copies[one.lost] = {}, {}, {}
    end
    local preview = copy(self, copies)
    for side, one in ipairs(self.followers) do -- of what is lost, units to come can only have the last
      local new = preview.followers[side]
      for index = one.behind + 1, #one.lost do
        new.lost[#new.lost + 1] = one.lost[index]
      end
      new.behind = 0
    end
    return preview
  end
end
