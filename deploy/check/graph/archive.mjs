// The table of Graph types as an extension file for the Bicep compiler: a tar.gz with types.tgz in it, itself a tar.gz of index.json and
// types.json. The shipped bicepconfig.json names the owner's registry; with this file the compiler needs no network, and the table is
// stricter than the owner's types.
import { readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

export function writeExtension(path) {
  const read = (name) => readFileSync(new URL(name, import.meta.url));
  const types = archive({ "index.json": read("index.json"), "types.json": read("types.json") });
  writeFileSync(path, archive({ "types.tgz": types }));
}

function archive(files) {
  const blocks = [];
  for (const [name, data] of Object.entries(files)) {
    const header = Buffer.alloc(512);
    header.write(name, 0);
    header.write("0000644\0", 100);
    header.write("0000000\0", 108);
    header.write("0000000\0", 116);
    header.write(`${data.length.toString(8).padStart(11, "0")}\0`, 124);
    header.write("00000000000\0", 136);
    header.write("        ", 148);
    header.write("0", 156);
    header.write("ustar\x0000", 257);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
    blocks.push(header, data, Buffer.alloc((512 - (data.length % 512)) % 512));
  }
  blocks.push(Buffer.alloc(1024));
  return gzipSync(Buffer.concat(blocks), { level: 9 });
}
