-- How a BinlogStream is, for Argo CD. Degraded is what waits for a person (Stalled, an open gap, a stopped
-- table); what the worker retries by itself is Progressing, as kstatus says; Paused and Stopped are Suspended.
local status = obj.status or {}
if obj.metadata.deletionTimestamp ~= nil then
  return { status = "Progressing", message = "is being deleted; its archive stays" }
end
if (status.observedGeneration or -1) < (obj.metadata.generation or 0) then
  return { status = "Progressing", message = "waits for the operator" }
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local function is(kind, word)
  return conditions[kind] ~= nil and conditions[kind].status == word
end
local function says(health, kind)
  local condition = conditions[kind]
  return { status = health, message = condition.reason .. ": " .. (condition.message or "") }
end

if is("Stalled", "True") then return says("Degraded", "Stalled") end
if is("GapDetected", "True") then return says("Degraded", "GapDetected") end
if is("Paused", "True") then return says("Suspended", "Paused") end
if is("DecodingHealthy", "False") then return says("Degraded", "DecodingHealthy") end
if is("Ready", "True") then return says("Healthy", "Ready") end
if is("Reconciling", "True") then return says("Progressing", "Reconciling") end
if is("Ready", "Unknown") then return says("Unknown", "Ready") end
if is("Ready", "False") then return says("Progressing", "Ready") end
return { status = "Progressing", message = "waits for the operator" }
