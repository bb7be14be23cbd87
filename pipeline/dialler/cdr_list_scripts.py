"""What is done on the dialler's Redis in one step, as Lua.

A command that is refused (by an ACL, for want of memory, because a key has another type) ends its script there, and
what was done before stays done: so each script first does what must not be missing, and last what makes it forget.
"""

from __future__ import annotations

from typing import Final

# KEYS: list, claim, register, lease.
# ARGV: limit, limit in bytes, name of the claim, end, owner, lease in ms, lmove?, now (Unix seconds).
# Returns 0 when another owner holds the lease, else the elements moved (oldest first as the dialler's page counts it).
# An element is always in one of the two lists, and a claim is in the register before there is anything in it.
CLAIM: Final = """
local holder = redis.call('GET', KEYS[4])
if holder and holder ~= ARGV[5] then return 0 end
redis.call('SET', KEYS[4], ARGV[5], 'PX', ARGV[6])
if redis.call('LLEN', KEYS[1]) == 0 then return {} end
redis.call('HSET', KEYS[3], ARGV[3], ARGV[5] .. '|' .. ARGV[8])
local moved, bytes = {}, 0
local limit, limit_bytes = tonumber(ARGV[1]), tonumber(ARGV[2])
while #moved < limit and bytes < limit_bytes do
  local element
  if ARGV[7] == '1' then
    element = redis.call('LMOVE', KEYS[1], KEYS[2], ARGV[4], 'RIGHT')
  elseif ARGV[4] == 'RIGHT' then
    element = redis.call('RPOPLPUSH', KEYS[1], KEYS[2])
  else
    element = redis.call('LINDEX', KEYS[1], 0)
    if element then
      redis.call('LPUSH', KEYS[2], element)
      redis.call('LPOP', KEYS[1])
    end
  end
  if not element then break end
  moved[#moved + 1] = element
  bytes = bytes + #element
end
return moved
"""

# KEYS: claim, register.  ARGV: name of the claim.
DROP: Final = """
redis.call('DEL', KEYS[1])
return redis.call('HDEL', KEYS[2], ARGV[1])
"""

# KEYS: claim, register, what it is kept as, the kept ones.  ARGV: name of the claim, now (Unix seconds), its bytes.
# An entry is name|time|bytes of all claims ever kept, so that two entries tell what those between them hold.
KEEP: Final = """
local newest = redis.call('LINDEX', KEYS[4], 0)
if redis.call('LLEN', KEYS[1]) > 0 then
  redis.call('RENAME', KEYS[1], KEYS[3])
  local bytes = newest and tonumber(string.match(newest, '|(%d+)$')) or 0
  redis.call('LPUSH', KEYS[4], string.format('%s|%s|%.0f', ARGV[1], ARGV[2], bytes + tonumber(ARGV[3])))
end
return redis.call('HDEL', KEYS[2], ARGV[1])
"""

# KEYS: the kept ones, then the oldest of them.  ARGV: their entries.
# RPOP is made of two commands that our user always had.
LET_GO: Final = """
for place, entry in ipairs(ARGV) do
  if redis.call('LINDEX', KEYS[1], -1) ~= entry then return place - 1 end
  redis.call('DEL', KEYS[place + 1])
  redis.call('RPOPLPUSH', KEYS[1], KEYS[1])
  redis.call('LPOP', KEYS[1])
end
return #ARGV
"""

# KEYS: lease.  ARGV: owner, lease in ms.  Returns who holds it afterwards.
LEASE: Final = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
"""

# KEYS: lease.  ARGV: owner.
RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

# KEYS: two keys that may be written for a moment.  Returns what is refused of all that the scripts above need, or
# nothing. Whatever can be undone is undone.
TRY_CLAIMING: Final = """
redis.call('DEL', KEYS[1], KEYS[2])
local refused = false
local function try(...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err and not refused then refused = answer.err end
end
try('SET', KEYS[1], '1', 'PX', '1000')
try('GET', KEYS[1])
redis.call('DEL', KEYS[1])
try('HSET', KEYS[1], 'x', '1')
try('HDEL', KEYS[1], 'x')
redis.call('DEL', KEYS[1])
try('LPUSH', KEYS[1], '1')
try('LINDEX', KEYS[1], 0)
try('LLEN', KEYS[1])
try('RPOPLPUSH', KEYS[1], KEYS[2])
try('LPOP', KEYS[2])
redis.call('DEL', KEYS[1], KEYS[2])
return refused
"""

# KEYS: as above.  Returns what is refused of that which only keeping settled claims needs.
TRY_KEEPING: Final = """
redis.call('SET', KEYS[1], '1', 'PX', '1000')
local answer = redis.pcall('RENAME', KEYS[1], KEYS[2])
redis.call('DEL', KEYS[1], KEYS[2])
return type(answer) == 'table' and answer.err or false
"""
