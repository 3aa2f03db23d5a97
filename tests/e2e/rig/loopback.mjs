// Preloaded into alto (node --import): it listens on every interface and has no option for that, so each
// listener of the process is kept on 127.0.0.1 here.
import net from "node:net"

const listen = net.Server.prototype.listen
net.Server.prototype.listen = function (...args) {
    if (typeof args[0] === "object" && args[0] !== null && "port" in args[0]) {
        args[0] = { ...args[0], host: "127.0.0.1" }
    } else if (typeof args[0] === "number") {
        args.splice(1, typeof args[1] === "string" ? 1 : 0, "127.0.0.1")
    }
    return listen.apply(this, args)
}
