-- Stands before every script that changes a tenant.
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

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Leaves word for an owner that may not hear the nudge. It looks every second, or is as good as dead long before.
local function put_into(inbox)
  redis.call('SADD', inbox, tenant)
  redis.call('PEXPIRE', inbox, 60000)
end

-- Tells all instances to look at the tenant. `leaving`: the incarnation that hands it over, or ''.
local function nudge(instance, leaving)
  redis.call('PUBLISH', nudges, instance .. ' ' .. tenant .. ' ' .. leaving)
end
