-- ARGV: an incarnation's name, whether it is the own one, which lives and leaves in order, the run of Redis for which the
-- caller knows that nothing else of that incarnation is left.
-- An expired one that owns nothing leaves the list. In another run Redis may have lost what it owns, and others wait for it.
if ARGV[2] == '1' then redis.call('DEL', alive) end
if not is_run(ARGV[3]) or redis.call('EXISTS', alive, owned) > 0 then return end
redis.call('SREM', incarnations, ARGV[1])
redis.call('DEL', inbox)
if ARGV[2] == '1' and redis.call('EXISTS', incarnations) == 0 then redis.call('SET', vacant, ARGV[3]) end
