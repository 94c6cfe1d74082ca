-- Reads a tenant: the record, whether the cursor `after` is still in the history, the events from it on (or only the newest),
-- each with its codes if those still exist, and whether there are credentials. With `on` '1' the events behind a cursor that
-- has left the history are read as well: readers drop those that they have seen.
local function look(after, on)
  local entries, known = {}, 0
  if after ~= '' then
    entries = redis.call('XRANGE', history, after, '+')
    if entries[1] and entries[1][1] == after then known = 1 end
  end
  if known == 0 and (on ~= '1' or #entries == 0) then
    entries = redis.call('XREVRANGE', history, '+', '-', 'COUNT', 1)
  end
  local events = {}
  for at, entry in ipairs(entries) do
    local code = entry[2][4] == '1' and redis.call('GET', code_of(entry[1])) or ''
    events[at] = { entry[1], entry[2][2], code, entry[2][4] }
  end
  return { redis.call('HGETALL', record), known, events, redis.call('EXISTS', tables) }
end
