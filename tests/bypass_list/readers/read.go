// Reads bodies as a bundler in Go does: one in base64 a line, one reading in JSON a line.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"os"
)

type request struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params"`
}

func told(value any) any {
	switch known := value.(type) {
	case json.Number:
		number, _ := known.Float64() // past the largest it is infinite, as elsewhere
		return fmt.Sprintf("n:%016x", math.Float64bits(number+0))
	case string:
		return "s:" + known
	case []any:
		items := make([]any, len(known))
		for i, item := range known {
			items[i] = told(item)
		}
		return []any{"a", items}
	case map[string]any:
		members := make([]any, 0, len(known))
		for key, item := range known {
			members = append(members, []any{key, told(item)})
		}
		return []any{"o", members}
	}
	return value
}

func read(body []byte) any {
	raw := []json.RawMessage{body}
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '[' {
		if json.Unmarshal(body, &raw) != nil {
			return "error"
		}
	}
	readings := make([]any, len(raw))
	for i, one := range raw {
		var each request
		if json.Unmarshal(one, &each) != nil {
			if len(raw) == 1 && !json.Valid(body) {
				return "error"
			}
			continue
		}
		var params any
		if len(each.Params) > 0 {
			decoder := json.NewDecoder(bytes.NewReader(each.Params))
			decoder.UseNumber()
			if decoder.Decode(&params) != nil {
				continue
			}
		}
		readings[i] = []any{each.Method, told(params)}
	}
	return readings
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(make([]byte, 1<<20), 1<<24)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	printer := json.NewEncoder(out)
	printer.SetEscapeHTML(false)
	for lines.Scan() {
		body, _ := base64.StdEncoding.DecodeString(lines.Text())
		_ = printer.Encode(read(body))
	}
}
