-- One call of one process: what it has to tell, then what it asks for. Times are seconds.
-- Budget 1 is the general one; what has no limit of its own names 1 for its own, which adds nothing.
local q = cjson.decode(ARGV[1])
local state, waiting = KEYS[1], KEYS[2]
local function permits(budget) return KEYS[budget + 2] end
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000

-- What it tells: permits to keep for so long beyond their window, or to forget; a block.
local function keep(name, own, longer)
  for _, b in ipairs({1, own}) do
    redis.call('ZADD', permits(b), now + longer + q.budgets[b].window, name)
  end
end
for _, permit in ipairs(q.permits) do
  local name, own, longer = unpack(permit)
  if longer >= 0 then
    keep(name, own, longer)
  else
    redis.call('ZREM', permits(1), name)
    redis.call('ZREM', permits(own), name)
  end
end
local born, blocked = unpack(redis.call('HMGET', state, 'born', 'blocked'))
born = born or string.format('%d.%06d', time[1], time[2])
blocked = math.max(tonumber(blocked or 0), now + q.block)
if q.born ~= '' and q.born ~= born then -- its books were others, and are lost
  blocked = math.max(blocked, tonumber(born) + q.silence)
end
redis.call('HSET', state, 'born', born, 'blocked', blocked)

-- What is free, what it holds, whether a slot has come free just now, and which others wait.
local free, rests, mine, fresh = {}, {}, 0, false
for b, budget in ipairs(q.budgets) do
  redis.call('ZREMRANGEBYSCORE', permits(b), '-inf', now - q.grace)
  local entries = redis.call('ZRANGE', permits(b), 0, -1, 'WITHSCORES')
  rests[b] = {}
  for i = 1, #entries, 2 do
    local rest = entries[i + 1] - now
    if rest > 0 then
      table.insert(rests[b], rest)
      if b == 1 and entries[i]:sub(1, #q.me) == q.me then mine = mine + 1 end
    elseif b == 1 then
      fresh = true
    end
  end
  -- What it sent itself it has an account of, should this clock have gone forward.
  free[b] = math.min(budget.limit - #rests[b], budget.room)
end
redis.call('ZREMRANGEBYSCORE', waiting, '-inf', now)
local others = {[0] = 0, [1] = 0}
for _, name in ipairs(redis.call('ZRANGE', waiting, 0, -1)) do
  local p = tonumber(name:sub(1, 1))
  if name:sub(3) ~= q.me then others[p] = others[p] + 1 end
end

-- What it gets. While a slot is fresh it keeps to its part, so that the others can come for theirs.
local kept, turn, left = {[0] = 0, [1] = q.reserve}, {}, {[0] = 0, [1] = 0}
local granted, yields = {}, false
for p = 0, 1 do
  turn[p] = free[1] - kept[p]
  if fresh and others[p] > 0 then
    turn[p] = math.ceil((q.budgets[1].limit - kept[p]) / (others[p] + 1)) - mine
  end
end
for i, want in ipairs(q.wants) do
  local p, own, name = unpack(want)
  -- It may have been granted before, and the answer was lost.
  local has = tonumber(redis.call('ZSCORE', permits(1), name) or 0) > now
  local room = free[1] > kept[p] and free[own] > 0
  local first = turn[p] > 0 and (p == 0 or others[0] == 0)
  if now >= blocked and (has or room and first) then
    keep(name, own, q.lease)
    granted[#granted + 1] = i
    if not has then
      free[1] = free[1] - 1
      if own > 1 then free[own] = free[own] - 1 end
      turn[0], turn[1] = turn[0] - 1, turn[1] - 1
      table.insert(rests[1], q.lease + q.budgets[1].window)
      if own > 1 then table.insert(rests[own], q.lease + q.budgets[own].window) end
    end
  elseif own == 1 or free[own] > 0 then -- else it waits for its own budget, in nobody's way
    yields = yields or room
    left[p] = left[p] + 1
  end
end
for p = 0, 1 do
  local name = p .. ':' .. q.me
  if left[p] > 0 then
    redis.call('ZADD', waiting, now + q.patience, name)
  else
    redis.call('ZREM', waiting, name)
  end
end

-- When that can change by itself: a slot comes free, the block ends, the others had their time.
local block, wait = math.max(blocked - now, 0), q.patience
for b in ipairs(q.budgets) do
  wait = math.min(wait, rests[b][1] or wait)
end
if block > 0 then
  wait = block
elseif yields then
  wait = math.min(wait, q.grace)
end
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, math.ceil((q.ttl + block) * 1000)) end
return cjson.encode({
  born = born, block = block, wait = wait, granted = granted, rests = rests,
})
