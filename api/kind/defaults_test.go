package kind

import "testing"

func TestFill(t *testing.T) {
	given, missing := "a", ""
	Fill(&given, "b")
	Fill(&missing, "b")
	if given != "a" || missing != "b" {
		t.Errorf("given %q, missing %q", given, missing)
	}
	five := 5
	kept, filled := &five, (*int)(nil)
	if *FillPointer(&kept, 7) != 5 || kept != &five {
		t.Errorf("a value that was given is %d", *kept)
	}
	if p := FillPointer(&filled, 7); p != filled || *filled != 7 {
		t.Errorf("a value that was missing is %v", filled)
	}
	if n := testing.AllocsPerRun(100, func() { FillPointer(&kept, 7) }); n > 0 {
		t.Errorf("a value that is not needed costs %v allocations", n)
	}
}
