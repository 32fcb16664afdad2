-- One call of one process: what it has to tell, then what it asks for. Times are seconds.
-- Budget 1 is the general one; what has no limit of its own names 1 for its own, which adds nothing.
local q = cjson.decode(ARGV[1])
local state, waiting = KEYS[1], KEYS[2]
local function permits(budget) return KEYS[budget + 2] end
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000

-- What it tells: permits to keep for so long beyond their window, or to forget; a block.
local function keep(id, own, longer)
  for _, b in ipairs({1, own}) do
    redis.call('ZADD', permits(b), now + longer + q.budgets[b].window, id)
  end
end
for _, permit in ipairs(q.permits) do
  local id, own, longer = unpack(permit)
  if longer >= 0 then
    keep(id, own, longer)
  else
    redis.call('ZREM', permits(1), id)
    redis.call('ZREM', permits(own), id)
  end
end
local born, blocked, served, at =
  unpack(redis.call('HMGET', state, 'born', 'blocked', 'served', 'at'))
born = born or string.format('%d.%06d', time[1], time[2])
blocked = math.max(tonumber(blocked or 0), now + q.block)
if q.born ~= '' and q.born ~= born then -- its books were others, and are lost
  blocked = math.max(blocked, tonumber(born) + q.silence)
end
redis.call('HSET', state, 'born', born, 'blocked', blocked)

-- What is free, and which others wait.
local free, others, rivals = {}, {[0] = 0, [1] = 0}, {[0] = 0, [1] = 0}
for b, budget in ipairs(q.budgets) do
  redis.call('ZREMRANGEBYSCORE', permits(b), '-inf', now)
  free[b] = budget.limit - redis.call('ZCARD', permits(b))
end
redis.call('ZREMRANGEBYSCORE', waiting, '-inf', now)
for _, name in ipairs(redis.call('ZRANGE', waiting, 0, -1)) do
  local p, who = tonumber(name:sub(1, 1)), name:sub(3)
  if who ~= q.me then others[p] = others[p] + 1 end
  local had = who == served and now < at + 2 * q.pause
  if who ~= q.me and not had then rivals[p] = rivals[p] + 1 end
end

-- What it gets: a part (`turn`) of what is free. Who was served just now has had its own.
local kept, turn, left = {[0] = 0, [1] = q.reserve}, {}, {[0] = 0, [1] = 0}
local granted, yields = {}, false
for p = 0, 1 do turn[p] = math.ceil((free[1] - kept[p]) / (rivals[p] + 1)) end
for i, want in ipairs(q.wants) do
  local p, own, id = unpack(want)
  local has = redis.call('ZSCORE', permits(1), id) -- granted before, and the answer was lost
  local room = free[1] > kept[p] and free[own] > 0
  local first = turn[p] > 0 and (p == 0 or others[0] + left[0] == 0)
  if now >= blocked and (has or room and first) then
    keep(id, own, q.lease)
    granted[#granted + 1] = i
    if not has then
      free[1] = free[1] - 1
      if own > 1 then free[own] = free[own] - 1 end
      turn[p] = turn[p] - 1
    end
  else
    yields = yields or room and (p == 0 or left[0] == 0)
    left[p] = left[p] + 1
  end
end
if #granted > 0 then
  served = q.me
  redis.call('HSET', state, 'served', served, 'at', now)
end
for p = 0, 1 do
  local name = p .. ':' .. q.me
  if left[p] > 0 then
    redis.call('ZADD', waiting, now + q.patience, name)
  else
    redis.call('ZREM', waiting, name)
  end
end

-- When that can change by itself: what is held comes free, the block ends, the others had theirs.
local block, wait, firsts, held = math.max(blocked - now, 0), q.patience, {}, {}
for b, budget in ipairs(q.budgets) do
  local first = redis.call('ZRANGE', permits(b), 0, 0, 'WITHSCORES')[2]
  if first then wait = math.min(wait, first - now) end
  firsts[b] = first and free[b] < 1 and math.min(first - now, budget.window) or 0
end
if block > 0 then
  wait = block
elseif yields then
  wait = math.min(wait, 2 * q.pause)
elseif served == q.me and others[0] + others[1] > 0 then
  wait = wait + q.pause -- who was served last lets the others come first
end
for i, value in ipairs(redis.call('ZRANGE', permits(1), 0, -1, 'WITHSCORES')) do
  -- What is under way may be answered now, and is free a window later.
  if i % 2 == 0 then held[i / 2] = math.min(value - now, q.budgets[1].window) end
end
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, math.ceil((q.ttl + block) * 1000)) end
return cjson.encode({
  born = born, block = block, wait = wait, granted = granted, held = held, firsts = firsts,
})
