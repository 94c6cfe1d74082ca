-- Stands before every script that changes a tenant.
local HISTORY_MAX = 32
local NO_FIELD = ''

local function read(field)
  return redis.call('HGET', record, field) or ''
end

-- Whoever decided on what it read of the record decides again if the record is another by now.
local function is_at(version)
  return read('version') == version
end

-- What the flag allow-oom says from Redis 7 on. A Redis whose memory is full refuses a script's first write if that needs
-- memory, and no later one; this one needs none and changes nothing. Without it a session that runs could save nothing
-- more, and would end.
local function allow_oom()
  redis.call('HDEL', record, NO_FIELD)
end

-- `change` is the name that no other change ever has, which the version is from here on: not a number, which a Redis that
-- came back without its last second would reach once more.
local function changed(doubted, change)
  redis.call('HSET', record, 'doubted', doubted, 'version', change)
end

-- A lease numbers its writes: the newest is answered again what it was answered first, one that arrives after a newer
-- one is nobody's any more. Then fence and nonce, both. nil: it may go on.
local function refused(nonce, fence, number)
  if read('last_nonce') == nonce then
    local last = tonumber(read('last_number'))
    if tonumber(number) == last then
      return { read('last_word'), read('last_value') }
    elseif tonumber(number) < last then
      return { 'overtaken', '' }
    end
  end
  if read('owner_nonce') ~= nonce or read('owner_fence') ~= fence then
    return { 'fenced', '' }
  end
  allow_oom()
end

local function answered(nonce, number, value)
  redis.call('HSET', record, 'last_nonce', nonce, 'last_number', number, 'last_word', 'done', 'last_value', value)
  return { 'done', tostring(value) }
end

local function disown()
  redis.call('HDEL', record, 'owner_incarnation', 'owner_nonce', 'owner_fence')
end

local function notice()
  return redis.call('PUBLISH', told, 'notice')
end

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
    redis.call('HSET', record, 'notice', notice, 'notice_at', noticed_at)
  end
  return redis.call('PUBLISH', told, message)
end
