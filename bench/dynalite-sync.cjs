// Loaded into dynalite before its own code (node --require): every write of its
// LevelDB waits for the disk, which dynalite by itself does not ask for.
const { createRequire } = require('module')
const { realpathSync } = require('fs')

const dynalite = createRequire(realpathSync(process.argv[1]))
const { ClassicLevel } = createRequire(dynalite.resolve('level'))('classic-level')

for (const name of ['_put', '_del', '_batch']) {
  const write = ClassicLevel.prototype[name]
  ClassicLevel.prototype[name] = function (...args) {
    args.push({ ...args.pop(), sync: true })
    return write.apply(this, args)
  }
}
