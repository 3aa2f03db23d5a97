// How the demo speaks: colours and signs on a terminal, plain text elsewhere (https://no-color.org).
const colourful = process.stdout.isTTY && !process.env.NO_COLOR
const paint = (code) => (text) => (colourful ? `\x1b[${code}m${text}\x1b[0m` : String(text))

export const bold = paint("1")
export const dim = paint("2")
export const green = paint("32")
export const red = paint("31")
export const yellow = paint("33")

const WIDTH = 92
const INDENT = "        "

export const say = (text = "") => console.log(text)
export const short = (hex) => `${hex.slice(0, 10)}…${hex.slice(-6)}`

export function chapter(number, title) {
    say()
    say(bold(`${number}. ${title}`))
}

export const remark = (text) => say(dim(`   ${text}`))

// `label     text`, the text wrapped under itself.
export function field(label, text, colour = (plain) => plain) {
    const head = label.padEnd(11)
    wrap(text, WIDTH - INDENT.length - head.length).forEach((line, index) => {
        say(`${INDENT}${index === 0 ? dim(head) : " ".repeat(head.length)}${colour(line)}`)
    })
}

function wrap(text, width) {
    const lines = [""]
    for (const word of String(text).split(" ")) {
        const last = lines.length - 1
        if (lines[last] && lines[last].length + word.length + 1 > width) lines.push(word)
        else lines[last] += (lines[last] ? " " : "") + word
    }
    return lines
}
