// What a validator looks at inside chunks, beyond the reader's proof; "§" names sections of schemas/SPEC.md.
import { Refused, take, thrift } from './reader.mjs'

const lost = at => { throw new Refused('page-bounds', `no page at ${at}`) }

/** The pages of a chunk: their headers, with the offset of what follows (§6.6). */
export async function* pages(source, { begin, end }) {
  for (let at = begin; at < end;) {
    const header = take(source, at, Math.min(65536, end - at)).then(bytes => thrift('PageHeader', bytes))
    const page = await header.catch(() => lost(at)), offset = at + page.used
    if (page.size < 0 || offset + page.size > end) lost(at)
    yield { ...page, offset }
    at = offset + page.size
  }
}

/** `count` levels of one bit in Parquet's hybrid of runs and packed bits (§6.2). */
export function levels(bytes, count) {
  const bits = []
  let at = 0
  const byte = () => at < bytes.length ? bytes[at++] : lost('its levels')
  const varint = (low = byte()) => low < 128 ? low : low - 128 + varint() * 128
  while (bits.length < count) {
    const head = varint(), run = Math.min(head / 2, count - bits.length)
    if (head % 2) for (let left = (head - 1) / 2; left > 0; left--) bits.push(...packed(byte()))
    else for (let left = run, bit = byte(); left > 0; left--) bits.push(bit)
  }
  return bits.slice(0, count)
}
const packed = byte => [0, 1, 2, 3, 4, 5, 6, 7].map(at => byte >> at & 1)

/** All values of a flat column of strings; or null if they are not PLAIN and uncompressed (§6.6). */
export async function strings({ source, footer: { leaves, groups } }, name) {
  const index = leaves.findIndex(({ path }) => path[0] === name), all = []
  const { type, repetition, path } = leaves[index] ?? {}
  if (type !== 6 || repetition > 1 || path.length > 1) return null
  for (const { chunks: { [index]: chunk } } of groups) {
    if (chunk.codec !== 0) return null
    for await (const { type, data, offset, size } of pages(source, chunk)) {
      if (type !== 0 || data.encoding !== 0) return null
      if (data.values > 2 ** 20) lost(offset)
      const page = plain(await take(source, offset, size), data.values, repetition === 1)
      for (const one of page) all.push(one)
    }
  }
  return all
}

/** The strings of a PLAIN page: null where its definition levels say so. */
function plain(bytes, count, isOptional) {
  let at = isOptional ? 4 + bytes.readUInt32LE() : 0
  const next = () => bytes.toString('utf8', at += 4, at += bytes.readUInt32LE(at - 4))
  const present = isOptional ? levels(bytes.subarray(4, at), count) : { length: count }
  return Array.from(present, level => level === 0 ? null : next())
}

const varint = number => number < 128 ? [number] : [number % 128 + 128, ...varint(Math.floor(number / 128))]
export const framed = bytes => {
  const length = Buffer.alloc(4)
  length.writeUInt32LE(bytes.length)
  return [length, bytes]
}

/** The repetition levels that §6.2 prescribes. */
function repetition(rows, items) {
  if (items === 1) return Buffer.from([...varint(rows * 2), 0])
  const row = Buffer.from([3, 0xfe, ...varint(Math.max(items - 8, 0) * 2), 1])
  if (items > 32) return Buffer.alloc(rows * row.length, row)
  const bits = Buffer.alloc(Math.ceil(rows * items / 8), 0xff)
  for (let at = 0; at < rows * items; at += items) bits[at >> 3] &= ~(1 << (at & 7))
  if (rows * items % 8) bits[bits.length - 1] &= (1 << rows * items % 8) - 1
  return Buffer.from([...varint(bits.length * 2 + 1), ...bits])
}

/** All bytes that §6.2 prescribes before the values. */
export function preamble(rows, { items, width, isVector }) {
  const definition = Buffer.from([...varint(rows * items * 2), 1])
  const levels = Buffer.concat(isVector ? [...framed(repetition(rows, items)), ...framed(definition)] : [])
  const size = [0x15, ...varint((levels.length + rows * width) * 2)], values = [0x15, ...varint(rows * items * 2)]
  const header = [0x15, 0, ...size, ...size, 0x2c, ...values, 0x15, 0, 0x15, 6, 0x15, 6, 0, 0]
  return Buffer.concat([Buffer.from(header), levels])
}

/** Whether levels in another form than §6.2 prescribes say the same. */
export function sayFull(prefix, rows, items) {
  let at = thrift('PageHeader', prefix).used
  const next = () => levels(prefix.subarray(at + 4, at += 4 + prefix.readUInt32LE(at)), rows * items)
  return next().every((level, index) => level === (index % items ? 1 : 0)) && next().every(level => level === 1)
}
