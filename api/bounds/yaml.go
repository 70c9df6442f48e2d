package bounds

import "fmt"

const (
	// maxMarks in a YAML document: what may begin a node. Parsing a node takes a microsecond and half a kilobyte.
	maxMarks = 60_000
	// maxAliased bounds what references may unfold to, as far as the text tells: marks times references.
	maxAliased = 100_000
)

// YAML scans a document that is about to be parsed. It counts the characters that may begin a node or refer to one,
// wherever they stand, so a long text with many lines, commas and colons may be refused that would be fine as JSON.
func YAML(data []byte) error {
	marks, aliases, depth, deepest := 0, 0, 0, 0
	before := byte('\n')
	for i, c := range data {
		after := byte('\n')
		if i+1 < len(data) {
			after = data[i+1]
		}
		switch c {
		case ',', '\n', '\r':
			marks++
		case '[', '{':
			marks++
			depth++
			deepest = max(deepest, depth)
		case ']', '}':
			depth = max(0, depth-1)
		case ':', '-', '?':
			if blank(after) || c == ':' && (before == '"' || before == '\'' || before == ']' || before == '}') {
				marks++
			}
		case '*':
			if (blank(before) || before == '[' || before == '{' || before == ',' || before == ':') && !blank(after) {
				aliases++
			}
		case 0x85, 0xa8, 0xa9: // the last bytes of the other line breaks
			marks++
		}
		before = c
	}
	switch {
	case marks > maxMarks:
		return tooLarge(fmt.Sprintf("the YAML document has more than %d lines and values; as JSON it may have %d values", maxMarks, MaxValues))
	case deepest > MaxDepth:
		return tooLarge(fmt.Sprintf("the YAML document is nested deeper than %d levels", MaxDepth))
	case aliases > 0 && aliases*marks > maxAliased:
		return tooLarge("the YAML document refers to parts of itself too often: write them out, or send JSON")
	}
	return nil
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
