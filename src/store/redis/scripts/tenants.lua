-- Precedes the prelude in each script on several tenants. KEYS behind the named ones: of each tenant the record and the
-- history.
local record, history, tenant

-- Calls `work` with the number of each tenant. Answers what it returned, and for each failure the number and the error: a
-- tenant whose record is damaged must not keep the others' webhooks back. If all fail, the script does.
local function each(work)
  local answers, failures, count = {}, {}, (#KEYS - NAMED) / 2
  for at = 1, count do
    record, history = KEYS[NAMED + 2 * at - 1], KEYS[NAMED + 2 * at]
    tenant = string.match(record, '{([^{}]*)}$')
    local done, answer = pcall(work, at)
    if done then
      answers[#answers + 1] = answer
    else
      failures[#failures + 1] = { at, type(answer) == 'table' and answer.err or answer }
    end
  end
  if #failures == count then return redis.error_reply(failures[1][2]) end
  return { answers, failures }
end
