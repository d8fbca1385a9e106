package lahja_test

var handshakeRows, identityRows, resumeRows, flowRows, systemRows []row

func controlRows() []row { return nil }
func payloadRows() []row { return nil }
