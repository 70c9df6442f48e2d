package kind

// Fill gives a field its default if it has the zero value.
func Fill[T comparable](field *T, value T) {
	var none T
	if *field == none {
		*field = value
	}
}

// FillPointer gives an optional field its default if it has no value, and returns what the field then points to.
func FillPointer[T any](field **T, value T) *T {
	if *field == nil {
		own := value // only a value that is taken over costs memory
		*field = &own
	}
	return *field
}
