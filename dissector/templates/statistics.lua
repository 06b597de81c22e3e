-- SPDX-License-Identifier: GPL-2.0-or-later
-- What each migration of the capture adds up to: Statistics > Xen Live Migration, or at the end of a tshark run with
-- `tshark -q -o xenmig.statistics:TRUE`. Counts as dissector/wire/statistics.py of xendissect does.

local statistics = {}

do
  local PAGE_DATA, CHECKPOINT = RECORDS["libxc.PAGE_DATA"], RECORDS["libxc.CHECKPOINT"]
  local DOMAIN_HEADER = RECORDS["libxc.DOMAIN_HEADER"]
  local STATUS = RECORDS["xl.REPORT_STATUS"]

  local function count(counts, name, more)
    counts[name] = (counts[name] or 0) + (more or 1)
  end

  -- A new pass begins when the pfns of the batches stop ascending, or after a batch that is not full (inferred).
  local function count_pages(sums, body)
    sums.pages = sums.pages + (body.data_pages or 0)
    if sums.checkpoints > 0 or not body.first_pfn then
      return
    end
    local before = sums.last_batch
    if not before or before.count < CONST.MAX_BATCH_SIZE or body.first_pfn <= before.last then
      sums.passes = sums.passes + 1
    end
    sums.last_batch = { count = body.count, last = body.last_pfn or body.first_pfn }
  end

  local function count_unit(sums, side, role, unit)
    count(sums.records[role], unit.record.layer .. " " .. unit.name)
    count(sums.bytes, role, unit.size)
    for _, found in ipairs(unit.found or {}) do
      count(sums.findings, found.id)
    end
    if #streams.missing(side, unit) > 0 then
      sums.incomplete = sums.incomplete + 1
    end
    if unit.record == PAGE_DATA then
      count_pages(sums, values.of(unit))
    elseif unit.record == CHECKPOINT then
      sums.checkpoints = sums.checkpoints + 1
    elseif unit.record == DOMAIN_HEADER then
      sums.guest = text.facts(unit, values.of(unit))
    elseif unit.record == STATUS then
      sums.status = text.facts(unit, values.of(unit))
    end
  end

  local function count_note(sums, note)
    if note.kind == "gap" then
      sums.lost = sums.lost + note.length
    elseif note.kind == "resync" then
      sums.skipped = sums.skipped + note.skipped
    else
      count(sums.findings, note.id)
    end
  end

  -- Add up one stream: what was found, and what the end of the capture adds.
  function statistics.of(stream)
    streams.conclude(stream)
    local sums = {
      records = { forward = {}, reverse = {} },
      bytes = {},
      pages = 0,
      passes = 0,
      checkpoints = 0,
      incomplete = 0,
      lost = 0,
      skipped = 0,
      findings = {},
    }
    for _, side in ipairs(stream.sides) do
      local role = streams.role(side) or "forward"
      for _, one in ipairs({ side.follower, side.preview.follower }) do
        for _, unit in ipairs(one.units) do
          count_unit(sums, side, role, unit)
        end
        for _, note in ipairs(one.notes) do
          count_note(sums, note)
        end
      end
    end
    return sums
  end

  local function sorted_keys(first, second)
    local seen, keys = {}, {}
    for _, counts in ipairs({ first, second or {} }) do
      for key in pairs(counts) do
        if not seen[key] then
          seen[key] = true
          keys[#keys + 1] = key
        end
      end
    end
    table.sort(keys)
    return keys
  end

  local function heading(stream)
    local from, to = stream.first, stream.second
    if streams.role(stream.sides[1]) == "reverse" then
      from, to = to, from
    end
    local flow = stream.end_flow or stream.flow
    return string.format("Migration %d: %s -> %s\n  %s, entry %s", stream.index, from, to, flow.mode, flow.entry)
  end

  local function add_line(lines, label, value)
    lines[#lines + 1] = string.format("  %-34s %10s", label, value)
  end

  local function describe(stream)
    local sums = statistics.of(stream)
    local lines = { heading(stream) }
    if sums.guest then
      lines[1] = lines[1] .. ", " .. sums.guest
    end
    if sums.status then
      lines[#lines + 1] = "  status at the receiver: " .. sums.status
    end
    add_line(lines, "passes (before any checkpoint)", text.number(sums.passes))
    add_line(lines, "pages with contents", text.number(sums.pages))
    add_line(lines, "checkpoints", text.number(sums.checkpoints))
    add_line(lines, "missing bytes", text.number(sums.lost))
    add_line(lines, "incomplete records", text.number(sums.incomplete))
    add_line(lines, "bytes skipped while out of step", text.number(sums.skipped))
    for _, id in ipairs(sorted_keys(sums.findings)) do
      lines[#lines + 1] = string.format("  %s: %s, %d x", RULES[id].severity, id, sums.findings[id])
    end
    lines[#lines + 1] = string.format("  %-34s %10s %10s", "records", "forward", "reverse")
    local forward, reverse = sums.records.forward, sums.records.reverse
    for _, name in ipairs(sorted_keys(forward, reverse)) do
      lines[#lines + 1] = string.format("  %-34s %10d %10d", name, forward[name] or 0, reverse[name] or 0)
    end
    lines[#lines + 1] =
      string.format("  %-34s %10d %10d", "bytes in records", sums.bytes.forward or 0, sums.bytes.reverse or 0)
    return table.concat(lines, "\n")
  end

  -- The whole report as text.
  function statistics.report()
    for _, stream in pairs(streams.by_number) do -- a search may end well only because the capture ends
      if stream.searched then
        streams.conclude(stream)
      end
    end
    if #streams.list == 0 then
      return "No Xen live migration in this capture."
    end
    local parts = {}
    for index, stream in ipairs(streams.list) do
      parts[index] = describe(stream)
    end
    return table.concat(parts, "\n\n")
  end

  local function open_window()
    local window = TextWindow.new("Xen Live Migration")
    window:set(statistics.report())
  end

  -- tshark has no menus: with the preference set, the report is printed when the capture was read. The tap never sees a
  -- packet; its end is what is waited for.
  local listener
  function statistics.prepare(wanted)
    if wanted and not listener and not gui_enabled() then
      listener = Listener.new("frame", "frame.number == 0")
      function listener.draw()
        print(statistics.report())
      end
    end
  end

  if gui_enabled() then
    register_menu("Xen Live Migration", open_window, MENU_STAT_UNSORTED)
  end
end
