-- Names under the record's name, so they lie in the same cell. Codes and rows are no KEYS: which there are is known only
-- while the script runs.
local told = record .. ':told'

local function code_of(id)
  return record .. ':code:' .. id
end

local function rows_of(name)
  return record .. ':rows:' .. name
end
