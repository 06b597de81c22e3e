-- SPDX-License-Identifier: GPL-2.0-or-later
-- One direction of a TCP connection: segments in, stream bytes and holes out, in order.
-- Mirrors dissector/wire/halfflow.py of xendissect.
--
-- Offsets count from the first byte of the direction, over any number of sequence wraps.
--
-- A hole is a range of stream bytes that has not come while later bytes have. It is lost when
--   1. the peer acknowledged the byte behind it (so it will not be sent again) and `reorder_window` bytes of later data
--      have been seen or `loss_delay` of capture time has passed (so it is not just out of order in the capture), or
--   2. later data runs more than `max_flow_buffer` ahead of it, or all connections together hold more than
--      `max_total_buffer`, or there are more than `max_holes` holes, or
--   3. the capture ends.
-- A hole that lies wholly in bytes nobody needs (page contents) is passed at once, without buffering; it stays open and
-- closes silently when the late segment comes. Only other holes make later data wait.
-- Bytes that a frame lost to the snap length are lost at once: every copy of them is cut the same way.

local halfflow = {}

do
  local SEQUENCES = 4294967296
  local SEGMENT_COST = 256 -- memory of a waiting segment beside its bytes, so that many tiny ones hit the limits too
  local NANOSECONDS = 1e9

  local HalfFlow = {}
  HalfFlow.__index = HalfFlow

  -- `consumer` (a follower) takes what comes out; `budget.used` counts the bytes waiting in all connections together.
  function halfflow.new(consumer, budget)
    return setmetatable({
      follower = consumer,
      budget = budget,
      started = false,
      seq = 0, -- sequence number of the next byte expected in order
      next = 0, -- its stream offset
      fin = nil, -- stream offset of the end of the stream, once a FIN came
      holes = {}, -- passed over, may still come: { start, stop, frame, time }, in order
      queue = {}, -- segments behind a hole, by offset: { offset, data, length, frame, time }, places `first` to `last`
      first = 1,
      last = 0,
      waiting_bytes = 0,
      waited_since = nil, -- time of the first segment that waits
    }, HalfFlow)
  end

  -- The bytes of a view behind the first `count`.
  local function behind(view, count)
    if count == 0 then
      return view
    end
    return {
      length = math.max(0, view.length - count),
      read = function(_, at, wanted)
        return view:read(at + count, wanted)
      end,
    }
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- What the outside asks

  -- Fix the sequence number of stream offset 0.
  function HalfFlow:start(seq)
    self.seq = seq % SEQUENCES
    self.started = true
  end

  -- Whether later data waits behind a hole.
  function HalfFlow:waiting()
    return self.first <= self.last
  end

  -- Stream offset of a sequence number: the one nearest to the next expected byte.
  function HalfFlow:offset_of(seq)
    local delta = (seq - self.seq) % SEQUENCES
    if delta >= SEQUENCES / 2 then
      delta = delta - SEQUENCES
    end
    return self.next + delta
  end

  function HalfFlow:move(count)
    self.next = self.next + count
    self.seq = (self.seq + count) % SEQUENCES
  end

  -- In-order bytes that nobody needs, counted without looking at them.
  function HalfFlow:pass(count, frame)
    self:move(count)
    self.follower:advance(count)
    self.follower:passed(frame)
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- Data

  -- Take a segment with payload: `view` holds the captured bytes, `length` is what was on the wire. `peer_ack` is the
  -- last acknowledgement number of the other side, -1 when none was seen.
  function HalfFlow:segment(seq, view, length, peer_ack, frame, time)
    local offset = self:offset_of(seq)
    if offset < self.next then -- (partly) seen before, or late
      local seen = math.min(self.next - offset, length)
      self:fill(offset, offset + math.min(view.length, seen))
      view, length, offset = behind(view, seen), length - seen, offset + seen
    end
    if length > 0 then
      self:take(offset, view, length, frame, time)
    end
    self:check(peer_ack, frame, time)
  end

  function HalfFlow:take(offset, view, length, frame, time)
    if offset > self.next then
      if self:waiting() or offset - self.next > self.follower:skip() then
        self:wait(offset, view, length, frame, time)
        return
      end
      self:pass_hole(offset, frame, time)
    end
    self:hand_on(view, length, frame)
    self:drain()
  end

  function HalfFlow:hand_on(view, length, frame)
    local captured = view.length
    if captured > 0 then
      self:move(captured)
      self.follower:data(view, frame)
    end
    if captured < length then
      local start = self.next
      self:move(length - captured)
      self.follower:lost_bytes(start, self.next, "snaplen", frame)
      self.follower:gap(length - captured, frame)
    end
  end

  -- Keep a segment until the hole in front of it is closed or lost. The view is valid only now: its bytes are copied.
  function HalfFlow:wait(offset, view, length, frame, time)
    local queue = self.queue
    if not self:waiting() then
      self.waited_since = time
    end
    local place = self.last + 1
    while place > self.first and queue[place - 1].offset > offset do
      queue[place] = queue[place - 1]
      place = place - 1
    end
    local data = view.length > 0 and view:read(0, view.length) or ""
    queue[place] = { offset = offset, data = data, length = length, frame = frame, time = time }
    self.last = self.last + 1
    self.waiting_bytes = self.waiting_bytes + length + SEGMENT_COST
    self.budget.used = self.budget.used + #data + SEGMENT_COST
  end

  function HalfFlow:unqueue()
    local item = self.queue[self.first]
    self.queue[self.first] = nil
    self.first = self.first + 1
    self.waiting_bytes = self.waiting_bytes - item.length - SEGMENT_COST
    self.budget.used = self.budget.used - #item.data - SEGMENT_COST
    return item
  end

  -- Hand on waiting segments as far as they connect, or as the holes between them need no waiting.
  function HalfFlow:drain()
    while self:waiting() do
      local item = self.queue[self.first]
      if item.offset > self.next then
        if item.offset - self.next > self.follower:skip() then
          break
        end
        self:pass_hole(item.offset, item.frame, item.time)
      end
      self:unqueue()
      local seen = self.next - item.offset
      if seen < item.length then
        self:hand_on(framer.text_view(item.data:sub(seen + 1)), item.length - seen, item.frame)
      end
    end
    local first = self.queue[self.first]
    self.waited_since = first and first.time
  end

  ---------------------------------------------------------------------------------------------------------------------
  -- Holes

  function HalfFlow:pass_hole(stop, frame, time)
    local count = stop - self.next
    self.holes[#self.holes + 1] = { start = self.next, stop = stop, frame = frame, time = time }
    self:move(count)
    self.follower:gap(count, frame)
  end

  -- Bytes that came late: take them out of the open holes.
  function HalfFlow:fill(start, stop)
    local holes = self.holes
    if #holes == 0 or stop <= holes[1].start then
      return
    end
    local left = {}
    local function keep(hole, from, to)
      if from < to then
        left[#left + 1] = { start = from, stop = to, frame = hole.frame, time = hole.time }
      end
    end
    for _, hole in ipairs(holes) do
      if stop <= hole.start or start >= hole.stop then
        left[#left + 1] = hole
      else
        keep(hole, hole.start, start)
        keep(hole, stop, hole.stop)
      end
    end
    self.holes = left
  end

  -- The hole in front of the waiting data is lost: tell so, and go on behind it.
  function HalfFlow:give_up(reason)
    local item, start = self.queue[self.first], self.next
    self:move(item.offset - start)
    self.follower:lost_bytes(start, item.offset, reason, item.frame)
    self.follower:gap(item.offset - start, item.frame)
    self:drain()
  end

  -- Why a hole that ends at `stop` is lost, or nil. `ahead`: bytes of later data; `since`: when the first of them came;
  -- `buffering`: they wait.
  function HalfFlow:verdict(stop, ahead, since, buffering, peer_ack, time)
    if peer_ack >= 0 and self:offset_of(peer_ack) >= stop then
      local late = since and time and time - since >= LIMITS.loss_delay / NANOSECONDS
      if late or ahead >= LIMITS.reorder_window then
        return "lost"
      end
    end
    if ahead > LIMITS.max_flow_buffer then
      self.follower:limit(FINDING.LIMIT_FLOW, LIMITS.max_flow_buffer, self.next)
      return "limit"
    end
    if buffering and self.budget.used > LIMITS.max_total_buffer then
      self.follower:limit(FINDING.LIMIT_TOTAL, LIMITS.max_total_buffer, self.next)
      return "limit"
    end
    return nil
  end

  function HalfFlow:check_waiting(peer_ack, time)
    while self:waiting() do
      local stop = self.queue[self.first].offset
      local reason = self:verdict(stop, self.waiting_bytes, self.waited_since, true, peer_ack, time)
      if not reason then
        return
      end
      self:give_up(reason)
    end
  end

  function HalfFlow:check_holes(peer_ack, frame, time)
    while #self.holes > 0 do
      local hole = self.holes[1]
      local reason = self:verdict(hole.stop, self.next - hole.stop, hole.time, false, peer_ack, time)
      if not reason then
        if #self.holes <= LIMITS.max_holes then
          return
        end
        self.follower:limit(FINDING.LIMIT_HOLES, LIMITS.max_holes, hole.start, frame)
        reason = "limit"
      end
      table.remove(self.holes, 1)
      self.follower:lost_bytes(hole.start, hole.stop, reason, hole.frame)
    end
  end

  -- Decide which holes are lost by now.
  function HalfFlow:check(peer_ack, frame, time)
    self:check_waiting(peer_ack, time)
    self:check_holes(peer_ack, frame, time)
  end

  -- The capture is over: every open hole is lost, for `reason` unless the peer had the bytes.
  function HalfFlow:finish(reason, peer_ack)
    while self:waiting() or #self.holes > 0 do
      local hole = self.holes[1]
      local stop = hole and hole.stop or self.queue[self.first].offset
      local acknowledged = peer_ack >= 0 and self:offset_of(peer_ack) >= stop
      local why = acknowledged and "lost" or reason
      if hole then
        table.remove(self.holes, 1)
        self.follower:lost_bytes(hole.start, hole.stop, why, hole.frame)
      else
        self:give_up(why)
      end
    end
  end
end
