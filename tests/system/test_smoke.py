import time
def test_smoke(stage):
    t=time.monotonic()
    j = stage.start("smoke")
    print(j.wait_for_end(), time.monotonic()-t)
    print(j.log())
    print(j.log_files())
    print(j.billed(), j.files(), j.has_whole_video(), j.xcom())
    print(stage.folder)
