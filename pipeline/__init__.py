"""The Enigma CDR pipeline: from the dialler's list to a classified, recorded and charged call."""
