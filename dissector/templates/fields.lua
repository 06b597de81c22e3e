-- SPDX-License-Identifier: GPL-2.0-or-later
-- The protocol, its display-filter fields, expert infos and preferences, as Wireshark wants them.

local fields = {
  protocol = Proto("xenmig", "Xen Live Migration"),
  by_name = {}, -- full name -> ProtoField
  kind = {}, -- full name -> "UINT32", "STRING" ...
  experts = {}, -- finding id -> ProtoExpert
}

do
  local protocol = fields.protocol

  local function value_names(row)
    if row.names == nil or row.names.kind ~= "enum" then
      return nil
    end
    return row.names.values
  end

  local function make(row)
    local label, name, about = row.label, row.name, row.meaning
    if row.type == "FRAMENUM" then
      return ProtoField.framenum(name, label, base.NONE, frametype.NONE, 0, about)
    elseif row.type == "BOOLEAN" then
      return ProtoField.bool(name, label, base.NONE, nil, 0, about)
    elseif row.base == nil then
      return ProtoField[row.type:lower()](name, label, base.NONE, about)
    end
    return ProtoField[row.type:lower()](name, label, base[row.base], value_names(row), nil, about)
  end

  -- STRING, BYTES and NONE fields take (abbreviation, name, display, description).
  local function make_plain(row)
    if row.type == "NONE" then
      return ProtoField.none(row.name, row.label, row.meaning)
    end
    return ProtoField[row.type:lower()](row.name, row.label, base.NONE, row.meaning)
  end

  local plain = { NONE = true, STRING = true, BYTES = true }
  local all = {}
  for _, row in ipairs(FIELDS) do
    local field = plain[row.type] and make_plain(row) or make(row)
    fields.by_name[row.name] = field
    fields.kind[row.name] = row.type
    all[#all + 1] = field
  end
  protocol.fields = all

  local severities = { error = PI_ERROR, warn = PI_WARN, note = PI_NOTE }
  local experts = {}
  local function expert(id, what, group, severity)
    local made = ProtoExpert.new("xenmig.expert." .. id, what, group, severity)
    fields.experts[id] = made
    experts[#experts + 1] = made
  end
  local ids = {}
  for id in pairs(RULES) do
    ids[#ids + 1] = id
  end
  table.sort(ids)
  for _, id in ipairs(ids) do
    expert(id, RULES[id].text, PI_PROTOCOL, severities[RULES[id].severity])
  end
  expert("gap", "bytes that never came", PI_SEQUENCE, PI_WARN)
  expert("resync", "framing was lost and found again", PI_SEQUENCE, PI_WARN)
  expert("late", "a segment that came late", PI_SEQUENCE, PI_NOTE)
  expert("cut", "bytes of this record are missing", PI_SEQUENCE, PI_WARN)
  protocol.experts = experts

  local prefs = protocol.prefs
  prefs.ports = Pref.range("TCP ports", "", "Ports that are taken for migrations whatever they carry at first", 65535)
  prefs.middle = Pref.bool(
    "Search connections captured from their middle",
    true,
    "Look for records in connections whose start is not in the capture (at most 16 MiB each)"
  )
  prefs.every_segment = Pref.bool(
    "Follow segments that TCP keeps to itself",
    false,
    "Always look at retransmissions too, not only while bytes are missing: for captures in which one has new bytes"
  )
  prefs.pfn_cap = Pref.uint("Page frame numbers shown per record", 1024, "Longer lists are cut in the details pane")
  prefs.statistics = Pref.bool("Print statistics at the end (tshark)", false, "Use with tshark -q")
end
