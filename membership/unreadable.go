package membership

// UnreadableMax bounds the unreadable values that a status names.
const UnreadableMax = 20

// Unreadable are stored values that cannot be decrypted or decoded. What belongs to them is left alone until they are mended or
// removed.
type Unreadable struct {
	Count int `json:"count"`
	// Values by key, at most UnreadableMax.
	Values []UnreadableValue `json:"values,omitempty"`
}

// UnreadableValue is one of them.
type UnreadableValue struct {
	Key    string `json:"key"`
	Reason string `json:"reason"`
}

// IsZero tells that everything can be read.
func (u Unreadable) IsZero() bool { return u.Count == 0 }

func (s *Status) judgeUnreadable() {
	for _, v := range s.Unreadable.Values {
		s.problem("the stored value of %s cannot be read: %s", v.Key, v.Reason)
	}
	if more := s.Unreadable.Count - len(s.Unreadable.Values); more > 0 {
		s.problem("%d more stored values cannot be read", more)
	}
}
