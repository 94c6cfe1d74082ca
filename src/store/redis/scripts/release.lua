-- ARGV: nonce, fence, number, version, doubted, whether readers are to look.
local answer = refused(ARGV[1], ARGV[2], ARGV[3])
if answer then return answer end
if not is_at(ARGV[4]) then return { 'again', '' } end
disown()
changed(ARGV[5], ARGV[1] .. ' ' .. ARGV[3])
if ARGV[6] == '1' then notice() end
return answered(ARGV[1], ARGV[3], 0)
