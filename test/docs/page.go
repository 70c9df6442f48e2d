// Package docs runs the commands that the pages of docs/ show, in order, as a reader would.
//
// Blocks whose info string begins with sh are run; those with another one, or none, are only read. The blocks of a page
// share one bash, which ends at the first command that fails, and three hosts in a fresh network: FIRST, SECOND and
// THIRD hold their addresses, and each has a HOME, the working directory, and a WHEELHOUSE_DATA_DIR of its own.
// Words after sh change that:
//
//	on=second    the block runs on the second host, in a bash of its own that sees all variables of the first host's
//	             bash; what it sets is lost at its end
//	background   the block goes on running; if it is a "wheelhouse server", or $JOIN, which pages set to such a line, the
//	             next block waits until it is ready
//
// An HTML comment that begins with <!--sh is run too, with the same words: for what a reader does in another way, as
// "stop second" does for Ctrl-C. $HOMES is the folder of the hosts' homes first, second and third.
package docs

import (
	"fmt"
	"strings"
)

// block is some commands of a page.
type block struct {
	// line of the page on which the block begins.
	line       int
	host       string
	background bool
	text       string
}

// hosts are the names that on= takes.
var hosts = []string{"first", "second", "third"}

// blocks finds what there is to run in a page.
func blocks(page string) ([]block, error) {
	var out []block
	var current *block
	end := "" // of the fence or comment that is open
	for i, line := range strings.Split(page, "\n") {
		text := strings.TrimSpace(line)
		if end != "" {
			if text == end {
				if current != nil {
					out = append(out, *current)
				}
				current, end = nil, ""
			} else if current != nil {
				current.text += line + "\n"
			}
			continue
		}
		info, opened := "", false
		if info, opened = strings.CutPrefix(text, "```"); opened {
			end = "```"
		} else if info, opened = strings.CutPrefix(text, "<!--sh"); opened {
			info, end = "sh"+info, "-->"
		}
		if !opened {
			continue
		}
		words := strings.Fields(info)
		if len(words) == 0 || words[0] != "sh" {
			continue
		}
		b := block{line: i + 1, host: hosts[0]}
		for _, w := range words[1:] {
			if err := b.take(w); err != nil {
				return nil, err
			}
		}
		current = &b
	}
	if end != "" {
		return nil, fmt.Errorf("a block is not closed by %s", end)
	}
	return out, nil
}

// take reads one word of an info string.
func (b *block) take(word string) error {
	if word == "background" {
		b.background = true
		return nil
	}
	name, ok := strings.CutPrefix(word, "on=")
	for _, h := range hosts {
		if ok && name == h {
			b.host = name
			return nil
		}
	}
	return fmt.Errorf("line %d: %q is neither background nor on=first, on=second or on=third", b.line, word)
}
