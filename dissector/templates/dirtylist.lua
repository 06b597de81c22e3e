-- SPDX-License-Identifier: GPL-2.0-or-later
-- Dirty lists: which record header a CHECKPOINT_DIRTY_PFN_LIST was sent with, 8, 16 or 12 bytes.
-- Mirrors dissector/wire/dirtylist.py of xendissect.
--
-- Secondaries of Xen 4.18 and later write the structure they have in memory in place of the header: 8 stray zero bytes
-- follow it on a 64-bit toolstack, 4 on a 32-bit one, and body_length does not count them. So the list itself does not
-- tell where it ends; what follows it does.

local dirtylist = {}

do
  local SIZES = { 8, 16, 12 }
  local HEADER_SIZE = 8

  -- What must follow a list: the header of a CHECKPOINT_STATE (type 5, 4 bytes of body).
  local NEXT_HEAD = { little = "\5\0\0\0\4\0\0\0", big = "\0\0\0\5\0\0\0\4" }

  -- How many bytes behind the list to wait for, one after the other: where stray bytes may end and the next record may
  -- begin (so that the frames of both are known), and where a decision is possible.
  dirtylist.LOOKAHEAD = { 4, 5, 8, 9, 16 }
  dirtylist.DECIDING = { [8] = true, [16] = true }

  local function only_zeros(text)
    return not text:find("[^\0]")
  end

  -- Tell whether a list that begins with `body` can only have the specified header: stray bytes are zero.
  function dirtylist.plainly_specified(body)
    return not only_zeros(body:sub(1, 4))
  end

  -- Decide by what follows the list. `body`: body_length bytes behind a header of 8 bytes (or the first of them);
  -- `ahead`: the bytes behind those; `at_end`: the stream ends there.
  -- Returns the header size, and false when nothing fitted and the specified size was taken;
  -- nil when 16 bytes `ahead` are needed.
  function dirtylist.header_size(body, ahead, order, at_end)
    local first = (body:sub(1, 8) .. ahead):sub(1, 8)
    for _, size in ipairs(SIZES) do
      local stray = size - HEADER_SIZE
      if only_zeros(first:sub(1, stray)) then
        local follows = ahead:sub(stray + 1, size)
        local ends_here = at_end and follows == "" and #ahead == stray
        if follows == NEXT_HEAD[order] or ends_here then
          return size, true
        end
      end
    end
    if #ahead == HEADER_SIZE and only_zeros(first:sub(1, 4)) and not at_end then
      return nil
    end
    return HEADER_SIZE, false
  end

  -- Whether all numbers of a list of u64 are multiples of 4294967296.
  local function low_halves_are_zero(list, order)
    local low = order == "little" and 0 or 4
    for at = 1, #list, 8 do
      if not only_zeros(list:sub(at + low, at + low + 3)) then
        return false
      end
    end
    return true
  end

  -- Judge by the list alone: page 0 is hardly ever dirty, and pages of 4294967296 and more do not exist.
  function dirtylist.guess(body, ahead, order)
    local there = #body < HEADER_SIZE and body .. ahead or body
    local list = there:sub(1, #there - #there % 8)
    if list == "" then
      return HEADER_SIZE
    elseif only_zeros(list:sub(1, 8)) then
      return 16
    elseif low_halves_are_zero(list, order) then
      return 12
    end
    return HEADER_SIZE
  end
end
