"""One network learns from another.

In scope: who the student is, what the teacher says (answers and features), the loss made of both.
Not in scope: the training loop (``training``), making a module narrower (``pruning``), several teachers and teachers
that learn too: they are other ``Teacher`` s and change nothing here.
"""
