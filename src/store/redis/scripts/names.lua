-- Names that are no KEYS. Names of codes and rows begin with the record's name, and are known only while a script runs.
-- `tenant` is the tenant's name in indexes and messages.
local cell, tenant = string.match(record, '^(.-){([^{}]*)}$')
local events_channel, notifications = record .. ':events', cell .. 'notifications'

local function code_of(id)
  return record .. ':code:' .. id
end

local function rows_of(name)
  return record .. ':rows:' .. name
end
