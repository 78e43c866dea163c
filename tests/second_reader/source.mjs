// Where bytes come from. A source is {size, read(offset, length)}; `read` gives a Uint8Array or a promise of one.
import { createHash } from 'node:crypto'
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'

const PIECE = 8 * 1024 * 1024

/** A file that lies in memory, or is mapped there: what is read from it are views, not copies. */
export function memory(buffer) {
  return { size: buffer.byteLength, read: (offset, length) => new Uint8Array(buffer, offset, length) }
}

/** A file, read by ranges. */
export function local(path) {
  const file = openSync(path)
  const read = (offset, length) => {
    const bytes = new Uint8Array(length)
    return bytes.subarray(0, readSync(file, bytes, 0, length, offset))
  }
  return { size: fstatSync(file).size, read, close: () => closeSync(file) }
}

/** A file on a server that serves byte ranges. */
export async function http(url) {
  const size = Number((await fetch(url, { method: 'HEAD' })).headers.get('content-length'))
  const read = async (offset, length) => {
    if (length === 0) return new Uint8Array(0)
    const answer = await fetch(url, { headers: { range: `bytes=${offset}-${offset + length - 1}` } })
    if (answer.status !== 206) throw new RangeError(`the server answers ${answer.status} to a range`)
    return new Uint8Array(await answer.arrayBuffer())
  }
  return { size, read }
}

/** A Buffer of exactly these bytes, or RangeError. */
export async function take(source, offset, length) {
  const inside = offset >= 0 && length >= 0 && offset + length <= source.size
  if (!inside) throw new RangeError(`no bytes ${offset} + ${length}`)
  const bytes = await source.read(offset, length)
  if (bytes.length !== length) throw new RangeError(`${bytes.length} bytes instead of ${length} at ${offset}`)
  return Buffer.from(bytes.buffer, bytes.byteOffset, length)
}

/** SHA-256 of the bytes from `start` to `end`. */
export async function digest(source, start, end) {
  const hash = createHash('sha256')
  for (let at = start; at < end; at += PIECE) hash.update(await take(source, at, Math.min(PIECE, end - at)))
  return hash.digest()
}
