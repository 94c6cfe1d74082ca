-- Stands behind the prelude where a script writes events.
local HISTORY_MAX = 32

-- Removes all events but the newest, with their codes: they name the account of a link that was given up.
local function keep_newest_event()
  local entries = redis.call('XRANGE', history, '-', '+')
  local newest = table.remove(entries)
  if not newest or #entries == 0 then return end
  for _, entry in ipairs(entries) do
    redis.call('UNLINK', code_of(entry[1]))
  end
  -- Of events that left the history before, too: more than come in the ten minutes that a code is kept.
  local epoch, first = string.match(entries[1][1], '^(%d+)-(%d+)$')
  for sequence = math.max(first - HISTORY_MAX, 1), first - 1 do
    redis.call('UNLINK', code_of(epoch .. '-' .. string.format('%.0f', sequence)))
  end
  redis.call('UNLINK', history)
  redis.call('XADD', history, newest[1], unpack(newest[2]))
end

-- Keeps and publishes the event whose seven parts begin at ARGV[at]: its id in the history, what is kept for long, what
-- is kept for `ttl` ms beside it (codes to pair with) or '', what is published, and, where the back end is to be told of
-- it, its id on the stream and its time. An event that is not there has the id ''. A notice that waits already keeps its turn.
local function tell(at)
  local id, kept, code, ttl, message, notice, noticed_at = unpack(ARGV, at, at + 6)
  if id == '' then
    return 0
  end
  if redis.call('EXISTS', record) == 0 then
    redis.call('UNLINK', history)
  end
  redis.call('XADD', history, 'MAXLEN', HISTORY_MAX, id, 'event', kept, 'coded', code == '' and '0' or '1')
  if code ~= '' then
    redis.call('SET', code_of(id), code, 'PX', ttl)
  end
  if notice ~= '' then
    -- Who says it delivers it, unless it dies: others leave it so much time.
    local due = math.max(now_ms() + 5000, tonumber(read('notice_due')) or 0)
    redis.call('ZADD', notices, string.format('%.0f', due), tenant)
    redis.call('HSET', record, 'notice', notice, 'notice_at', noticed_at)
  end
  return redis.call('PUBLISH', told, message)
end
