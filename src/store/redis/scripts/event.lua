-- Follows the prelude in each script that writes events.
local HISTORY_MAX = 32

-- Removes all events except the newest one, with their codes: they name the account of a link that was given up.
local function keep_newest_event()
  local entries = redis.call('XRANGE', history, '-', '+')
  local newest = table.remove(entries)
  if not newest or #entries == 0 then return end
  for _, entry in ipairs(entries) do
    redis.call('UNLINK', code_of(entry[1]))
  end
  -- Also the codes of events that have left the history. Fewer than this many come in the ten minutes for which a code is
  -- kept.
  local epoch, first = string.match(entries[1][1], '^(%d+)-(%d+)$')
  for sequence = math.max(first - HISTORY_MAX, 1), first - 1 do
    redis.call('UNLINK', code_of(epoch .. '-' .. string.format('%.0f', sequence)))
  end
  redis.call('UNLINK', history)
  redis.call('XADD', history, newest[1], unpack(newest[2]))
end

-- Saves and publishes the event whose seven parts begin at ARGV[at]: its id in the history; the event as it is kept; the
-- event with its codes, kept for `ttl` ms, or ''; the message to publish; and, for an event that the outbox keeps, its id on
-- the stream and its time. The id '' means that there is no event. An outbox entry that waits already keeps its turn.
local function publish_event(at)
  local id, kept, code, ttl, message, outbox_event, outbox_at = unpack(ARGV, at, at + 6)
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
  if outbox_event ~= '' then
    -- The instance that appends the event delivers it. Others wait so long, in case it dies.
    local due = math.max(now_ms() + 5000, tonumber(read('outbox_due')) or 0)
    redis.call('ZADD', outbox, string.format('%.0f', due), tenant)
    redis.call('HSET', record, 'outbox_event', outbox_event, 'outbox_at', outbox_at)
  end
  return redis.call('PUBLISH', events_channel, message)
end
