package main

import (
	"fmt"
	"strconv"
	"time"
)

// secondsValue is a flag in whole seconds that sets a duration.
type secondsValue struct{ d *time.Duration }

func (s *secondsValue) String() string { return strconv.Itoa(int(s.d.Seconds())) }
func (s *secondsValue) Type() string   { return "int" }

func (s *secondsValue) Set(v string) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is not a number of seconds", v)
	}
	*s.d = time.Duration(n) * time.Second
	return nil
}
