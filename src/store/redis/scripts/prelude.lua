-- Precedes every script that changes a tenant.
local NO_FIELD = ''

local function read(field)
  return redis.call('HGET', record, field) or ''
end

-- A caller that decided on another version of the record has to decide again.
local function is_at(version)
  return read('version') == version
end

-- Does what the flag allow-oom does from Redis 7 on. A Redis whose memory is full refuses a script whose first write needs
-- memory; later writes are taken. This write needs none and changes nothing. Without it a running session could save nothing
-- more, and would end.
local function allow_oom()
  redis.call('HDEL', record, NO_FIELD)
end

-- `change` becomes the version. It is a name that no other change ever has. A Redis that lost its last second would reach
-- a number a second time.
local function changed(doubted, change)
  redis.call('HSET', record, 'doubted', doubted, 'version', change)
end

-- A lease numbers its writes. The newest one gets its first answer again; an older one is refused. Then nonce and fence are
-- compared. nil: the script may go on.
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

local function clear_owner()
  redis.call('HDEL', record, 'owner_incarnation', 'owner_nonce', 'owner_fence')
end

-- Readers read the record again: the status may not be stale any more.
local function refresh()
  return redis.call('PUBLISH', events_channel, 'refresh')
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The owner reads its inbox every second, also if it missed the notification. An owner that does not has expired before the inbox
-- expires.
local function put_into_inbox(inbox)
  redis.call('SADD', inbox, tenant)
  redis.call('PEXPIRE', inbox, 60000)
end

-- Notifies all instances that the tenant's request or owner changed. `leaving`: the incarnation that hands it over, or ''.
local function notify(instance, leaving)
  redis.call('PUBLISH', notifications, instance .. ' ' .. tenant .. ' ' .. leaving)
end
