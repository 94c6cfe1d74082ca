-- Whether this is still the run of Redis that the caller knows: a server that was restarted, or has followed another one, may
-- have lost what the caller decided on. '': the caller need not know, or has no right to.
local function is_run(run)
  if run == '' then return true end
  local start = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') or ''
  local replication = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or ''
  return run == start .. '-' .. replication
end
