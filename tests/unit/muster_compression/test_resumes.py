from muster_compression.resumes import Resumes


def test_a_training_that_begins_later_than_its_first_epoch_was_resumed():
    handed = []
    watch = Resumes(lambda ratio, note: handed.append(note))
    notes = [
        "judging",
        "base: epoch 1 of 4, loss 2.1, 3 s left",
        "base: epoch 2 of 4, loss 1.9, 2 s left",
        "student: epoch 7 of 25, loss 0.4, 9 s left",
        "student: epoch 8 of 25, loss 0.3, 8 s left",
    ]
    for note in notes:
        watch(0.5, note)
    assert handed == notes
    assert watch.told == ("student went on from epoch 7 of 25, as a run before had left it",)
