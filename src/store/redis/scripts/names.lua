-- Names that are no KEYS. Codes and rows lie under the record's name; which there are is known only while the script runs.
-- `tenant` is how indexes and messages name it.
local cell, tenant = string.match(record, '^(.-){([^{}]*)}$')
local told, nudges = record .. ':told', cell .. 'nudges'

local function code_of(id)
  return record .. ':code:' .. id
end

local function rows_of(name)
  return record .. ':rows:' .. name
end
