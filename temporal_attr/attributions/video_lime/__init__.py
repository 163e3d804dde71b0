"""A local linear model of the prediction, in tubes or regions of the clip."""

from temporal_attr.attributions.video_lime._method import VideoLIME
from temporal_attr.attributions.video_lime._result import VideoLIMEResult

__all__ = ["VideoLIME", "VideoLIMEResult"]
