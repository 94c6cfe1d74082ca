-- ARGV: `after` and `on` of look.lua.
return look(ARGV[1], ARGV[2])
