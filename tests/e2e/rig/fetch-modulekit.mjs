// Brings @rhinestone/modulekit into build/modulekit. `npm install` of it fails: it names Git repositories as
// dependencies. `npm pack` takes the package alone, and only the bytecode constants in it are read.
import { execFileSync } from "node:child_process"
import fs from "node:fs"
import path from "node:path"

const PACKAGE = "@rhinestone/modulekit@0.5.9"
const build = path.join(import.meta.dirname, "..", "build")
const target = path.join(build, "modulekit")

if (!fs.existsSync(path.join(target, "package.json"))) {
    fs.mkdirSync(target, { recursive: true })
    const packed = execFileSync("npm", ["pack", "--silent", PACKAGE], { cwd: build, encoding: "utf8" })
    const archive = path.join(build, packed.trim().split("\n").pop())
    execFileSync("tar", ["xzf", archive, "-C", target, "--strip-components=1"])
    fs.rmSync(archive)
}
